"""The composition root: `naiad up` puts every stage into one process tree.

Enters: a few options, a data folder, requests on two ports. Leaves: one gRPC server
with ingest and query, the consumers beside it, a dashboard and a Valkey as children.

Promised:
- One folder holds everything; one process owns it, and a second one is told so.
- On loopback nothing asks for a login; on any other address everything does.
- Ready means ready: the line on stdout is printed when every port answers.
- Ctrl-C and SIGTERM drain; SIGKILL loses nothing that was acknowledged, and takes the
  children along.

Nothing imports this package; it may import all the others.
"""
