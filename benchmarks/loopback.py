"""A server on the loopback interface that answers every request with one chat stream, event by event.

python benchmarks/loopback.py CHUNKS

It prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys

import workload

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def main() -> None:
    pieces = [b"%x\r\n%b\r\n" % (len(read), read) for read in workload.wire("chat", int(sys.argv[1]))]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                await reader.readexactly(int(fields[b"content-length"]))
                for piece in (HEAD, *pieces, b"0\r\n\r\n"):
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
