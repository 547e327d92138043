"""`python -m worker …`: Celery's own command line with this application, which is not looked for in the user's folder."""

import sys

from backtrail.errors import UsageError

try:
    from worker import celery
except UsageError as error:  # settings that cannot be meant so, or an embedded broker that cannot run here
    sys.stderr.write(f"backtrail: {error}\n")
    sys.exit(2)

sys.exit(celery.start(sys.argv[1:]))
