"""`python -m reconciler.cli`"""

import sys

if sys.argv[1:2] == ["fence-peer"]:  # clients wait for it: none of the other commands is loaded
    from reconciler.cli.fence_peer import main as fence_peer

    sys.exit(fence_peer())

from reconciler.cli.main import main

main()
