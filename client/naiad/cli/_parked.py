"""`naiad sync --again`: offers servers once more what they refused as a whole."""

from __future__ import annotations

from pathlib import Path

import click
import grpc

from naiad.shipper.server import Server, TlsFiles, explain
from naiad.spool.folder import read_header
from naiad.spool.layout import REJECTED


def send_again(hosts: list[Path], url: str | None, token: str | None) -> int:
    """Sends every parked batch; returns how many are still there. What is taken is removed,
    its reason stays in the list."""
    left = sent = 0
    for host in hosts:
        # Those of spools that are under way are their shipper's.
        for folder in sorted((host / REJECTED).glob("*")):
            batches = sorted(folder.glob("*.batch"))
            header = read_header(folder)
            if not batches or header is None:
                left += len(batches)
                continue
            files = TlsFiles(header.ca_file, header.cert_file, header.key_file)
            try:
                server = Server(url or header.url, token, files)
            except (ValueError, OSError) as error:
                raise click.ClickException(str(error)) from error
            try:
                for batch in batches:
                    problem = _offer(server, batch)
                    if problem:
                        left += 1
                        click.echo(f"{header.run_id}\t{batch}\t{problem}")
                    else:
                        sent += 1
                        batch.unlink()
            finally:
                server.close()
    click.echo(f"{sent} batches were taken this time, {left} were not.")
    return left


def _offer(server: Server, batch: Path) -> str:
    """Why it was not taken; empty when it was."""
    try:
        answer = server.write(batch.read_bytes()).result()
    except grpc.RpcError as error:
        return explain(server.url, error)
    rejections = [rejection.message for rejection in answer.rejections]
    return "; ".join(rejections[:3])
