{{/* Names, labels and the parts that pods have in common. */}}

{{- define "naiad.fullname" -}}
{{- if contains "naiad" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-naiad" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Call with (dict "root" $ "stage" "ingest"). */}}
{{- define "naiad.selector" -}}
app.kubernetes.io/name: naiad
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .stage }}
{{- end -}}

{{- define "naiad.labels" -}}
{{ include "naiad.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "naiad.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "naiad.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "naiad.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "naiad.enginesSecret" -}}
{{ .Values.engines.existingSecret | default (printf "%s-engines" (include "naiad.fullname" .)) }}
{{- end -}}

{{/* The stages that run, as a JSON list. */}}
{{- define "naiad.stages" -}}
{{- $stages := list "ingest" "writer" "alerter" "query" -}}
{{- if and .Values.live.enabled (or .Values.engines.state .Values.engines.existingSecret) -}}
{{- $stages = append $stages "live" -}}
{{- end -}}
{{- if .Values.dashboard.enabled -}}
{{- $stages = append $stages "dashboard" -}}
{{- end -}}
{{- $stages | toJson -}}
{{- end -}}

{{/* A variable from the engines' Secret: (dict "root" $ "name" "NAIAD_STORE" "optional" false). */}}
{{- define "naiad.fromSecret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ include "naiad.enginesSecret" .root }}
      key: {{ .name }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}

{{/* Each stage hears of the engines that it needs and of no others. */}}
{{- define "naiad.environment" -}}
{{- $reads := dict
  "ingest" (list "NAIAD_EVENT_LOG" "NAIAD_FILES")
  "writer" (list "NAIAD_EVENT_LOG" "NAIAD_STORE" "NAIAD_FILES")
  "live" (list "NAIAD_EVENT_LOG" "NAIAD_STATE")
  "alerter" (list "NAIAD_EVENT_LOG" "NAIAD_STORE")
  "query" (list "NAIAD_EVENT_LOG" "NAIAD_STORE" "NAIAD_FILES")
  "dashboard" (list)
  "migrate" (list "NAIAD_STORE") -}}
{{- $names := get $reads .stage -}}
{{- range $name := $names }}
{{ include "naiad.fromSecret" (dict "root" $.root "name" $name "optional" false) }}
{{- end }}
{{- if has .stage (list "ingest" "query") }}
{{ include "naiad.fromSecret" (dict "root" .root "name" "NAIAD_STATE" "optional" true) }}
{{- end }}
{{- if has "NAIAD_EVENT_LOG" $names }}
{{ include "naiad.fromSecret" (dict "root" .root "name" "NAIAD_KAFKA_USER" "optional" true) }}
{{ include "naiad.fromSecret" (dict "root" .root "name" "NAIAD_KAFKA_PASSWORD" "optional" true) }}
{{- end }}
{{- if has "NAIAD_FILES" $names }}
{{ include "naiad.fromSecret" (dict "root" .root "name" "AWS_ACCESS_KEY_ID" "optional" true) }}
{{ include "naiad.fromSecret" (dict "root" .root "name" "AWS_SECRET_ACCESS_KEY" "optional" true) }}
{{- end }}
- {name: NAIAD_METRICS_LISTEN, value: "0.0.0.0:9464"}
- {name: NAIAD_LOG_FORMAT, value: {{ .root.Values.logFormat | quote }}}
- {name: NAIAD_LOG_LEVEL, value: {{ .root.Values.logLevel | quote }}}
{{- if has .stage (list "ingest" "query") }}
- {name: NAIAD_LISTEN, value: "0.0.0.0:7420"}
- {name: NAIAD_TOKENS, value: {{ printf "/etc/naiad/tokens/%s" .root.Values.tokens.key | quote }}}
# Until every gateway has heard that no more should come here.
- {name: NAIAD_DRAIN_DELAY_SECONDS, value: "10"}
{{- end }}
{{- if and (eq .stage "ingest") .root.Values.ingest.limits }}
- {name: NAIAD_LIMITS, value: {{ .root.Values.ingest.limits | quote }}}
{{- end }}
{{- if and (eq .stage "query") .root.Values.dashboardUrl }}
- {name: NAIAD_DASHBOARD_URL, value: {{ .root.Values.dashboardUrl | quote }}}
{{- end }}
{{- if and (eq .stage "writer") .root.Values.migration.enabled }}
- {name: NAIAD_MIGRATE, value: "false"}
{{- end }}
{{- if and (eq .stage "alerter") .root.Values.alerter.rules }}
- {name: NAIAD_ALERTS, value: /etc/naiad/alerts/alerts.yaml}
{{- end }}
{{- if eq .stage "dashboard" }}
- {name: NAIAD_LISTEN, value: "0.0.0.0:8501"}
- {name: NAIAD_SERVER, value: "grpc://{{ include "naiad.fullname" .root }}-gateway-internal:7421"}
{{- end }}
{{- range $name, $value := (get .root.Values .stage | default dict).env }}
- {name: {{ $name }}, value: {{ include "naiad.text" $value | quote }}}
{{- end }}
{{- end -}}

{{/* Numbers of values.yaml are floats: 536870912 would become 5.36870912e+08. */}}
{{- define "naiad.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "naiad.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "naiad.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods may run: (get .Values "ingest"). */}}
{{- define "naiad.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
