"""A port that is free is found, and nobody is given it by the kernel meanwhile."""

import socket
from pathlib import Path

from infra.embedded.process import PORTS, PORTS_TRIED, free_port


def test_a_port_that_is_wished_for_is_given_or_the_next_one_that_is_free() -> None:
    wished = free_port()
    with socket.create_server(("127.0.0.1", wished)):
        assert wished < free_port(wished) <= wished + PORTS_TRIED


def test_without_a_wish_another_one_is_given_each_time() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_no_outgoing_connection_can_have_it() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert PORTS.stop <= lowest
