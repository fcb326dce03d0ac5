"""All objects with a prefix as one zip file, which is made while it is sent.

Nothing is compressed. Objects that are deleted meanwhile are left out. If a node fails,
the response breaks; no program opens a zip file without its central directory. The
directory entry of each object, some 0.1 KiB and its name, is held in memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from amazin.access.grants import OBJECTS, READ, Place
from amazin.api.addresses import bucket_of, parameters
from amazin.api.archive_names import Names
from amazin.api.content import exactly
from amazin.api.services import Services
from amazin.api.zip_stream import FIRST_SECOND, LAST_SECOND, ZipStream
from amazin.cluster.bucket_listing import Entry, list_keys
from amazin.cluster.downloads import NamedObject
from amazin.cluster.large_objects import LargeObjectStore
from amazin.errors import BucketNotFoundError, NodeError, NoSuchKeyError
from amazin.model.objects import CHUNK_BYTES
from amazin.model.stored_names import shown, stored_name
from amazin.nodes.interface import NodeObject
from amazin.web.conditions import modified_seconds
from amazin.web.messages import Request, Response
from amazin.web.streaming import Pieces, streamed

Members = Generator[tuple[str, NodeObject], None, None]
"""Keys with their open objects."""


def get_archive(request: Request, services: Services, bucket: str) -> Response:
    """Send a zip file of all objects whose keys begin with `prefix`."""
    bucket = bucket_of(services.settings, bucket)
    prefix = parameters(request, ("prefix",)).get("prefix", "")
    request.require(READ, Place(OBJECTS, bucket, prefix))
    if not services.buckets.is_there(bucket):
        raise BucketNotFoundError
    entries = list_keys(services.objects, bucket, prefix=prefix)
    headers = (
        ("Content-Type", "application/zip"),
        ("Content-Disposition", f'attachment; filename="{bucket}.zip"'),
    )
    return streamed(headers, zipped(opened(services.objects, bucket, entries)))


def opened(objects: LargeObjectStore, bucket: str, entries: Iterable[Entry]) -> Members:
    """Yield keys with their open objects; each is closed before the next one."""
    for key, _ in entries:
        name, _ = stored_name(bucket, key)
        try:
            download = objects.get(name)
        except NoSuchKeyError:  # deleted since it was listed
            continue
        except NodeError as exc:
            exc.key = shown(name)
            raise
        content = NamedObject(download.content, shown(name), download.member.name)
        with closing(content):
            yield key, content


def zipped(members: Members) -> Pieces:
    """Yield a zip file of these objects. Raises: NodeError, if one can't be read."""
    archive, names = ZipStream(), Names()
    try:
        for key, content in members:
            name, info = names.name(key), content.info
            seconds = min(max(modified_seconds(info), FIRST_SECOND), LAST_SECOND)
            chunks = exactly(content.read(), content, info.size)
            if info.size <= CHUNK_BYTES:
                yield archive.small(name, seconds, b"".join(chunks))
            else:
                yield from archive.large(name, seconds, info.size, chunks)
        yield from archive.end()
    finally:
        members.close()
