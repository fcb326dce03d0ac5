"""An example of one's own discovery: `DISCOVERY=own_discovery:DiskDiscovery`."""

from collections.abc import Sequence
from pathlib import Path

from amazin.errors import DiscoveryError
from amazin.model.node_specs import NodeSpec
from amazin.settings.settings import Settings


class DiskDiscovery:
    """Every folder in DATA_DIR with a file `disk-name` is a node of that name.

    A disk keeps its name, and so its objects, wherever it is mounted.
    """

    def __init__(self, settings: Settings) -> None:
        self._data_dir = Path(settings.data_dir).absolute()

    def find(self) -> Sequence[NodeSpec]:
        try:
            labels = sorted(self._data_dir.glob("*/disk-name"))
            names = {label.read_text().strip(): label.parent for label in labels}
        except OSError as exc:
            raise DiscoveryError("The disks can't be listed") from exc
        return [NodeSpec(name, path.as_uri()) for name, path in names.items()]
