from naiad.query.client import QueryClient, Runs

P = "team/vision"


def test_all(client: QueryClient) -> None:
    print(
        client.list_projects(), client.list_runs(P), client.list_runs(P, Runs(by_experiment=True))
    )
    print(client.list_attributes(P))
    print(client.runs_table(P).to_pylist()[0])
    print(client.metrics(P).to_pandas())
    print(client.metric_buckets(P, max_buckets=2).to_pandas())
    print(client.series(P).to_pandas())
    for v in ["runs", "points", "attributes", "tags", "series", "strings", "histograms", "files"]:
        print(client.sql(f"select * from {v}").to_pandas())
