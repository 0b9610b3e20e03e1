import pytest
from click.testing import CliRunner

from naiad.cli import main


@pytest.mark.usefixtures("environment")
def test_all() -> None:
    for args in (
        ["runs", "list"],
        ["runs", "list", "--json"],
        ["runs", "list", "--columns", "lr,loss", "--sort", "loss", "--experiments"],
        ["sql", "select path, value, value from points where run_id='sgd'"],
        ["sql", "show tables", "--json"],
        ["sql", "describe runs"],
        ["sql", "select 1 as a, 2 as a", "--json"],
        ["sql", "drop table points"],
        ["runs", "list", "--project", "x/y"],
        ["runs", "list", "--url", "grpc://127.0.0.1:1"],
        ["runs", "list", "--project", ""],
        ["runs", "list", "--match", "("],
        ["sql", "explain select 1"],
        ["sql", "explain select * from runs"],
        ["sql", "select file('/etc/passwd')"],
        ["sql", "select * from merge('.*','.*')"],
        ["sql", "select * from system.tables"],
        ["sql", "select x from points"],
        ["sql", "select count() from points settings max_threads=1"],
        ["sql", "select * from points format JSON"],
        ["sql", "with a as (select 1 as x) select * from a, points"],
        ["sql", "select 1 /* /* */ from system.tables -- */"],
        ["sql", "select FILE('/etc/passwd')"],
        ["sql", "select `file`('/etc/passwd')"],
        ["sql", "select * from points where value in (select number from numbers(3))"],
        ["sql", "select * from (select file('/etc/passwd'))"],
        ["sql", "select * from points limit 2 into outfile '/tmp/x_out'"],
        ["sql", "select currentDatabase(), hostname(), version()"],
        ["sql", "select * from runs union all select * from runs"],
        ["sql", "select run_id from runs as r final"],
        ["sql", "-- c\nselect run_id, max(value) from points group by run_id order by 1"],
        ["sql", "select dictGet('a','b',1)"],
        ["sql", "select * from view_points"],
        ["sql", "select * from numbers(3)"],
        ["sql", "select quantileIf(0.5)(value, value>1), uniqExact(run_id) from points"],
    ):
        r = CliRunner().invoke(main, args)
        print(
            "$",
            args,
            r.exit_code,
            "\n",
            r.output[:600] + "\n",
            r.exception if r.exception and not isinstance(r.exception, SystemExit) else "",
        )
