"""``python -m rumphyper`` is the ``rumphyper`` command."""

from rumphyper.cli.main import main

raise SystemExit(main())
