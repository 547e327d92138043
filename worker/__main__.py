"""`python -m worker …`: Celery's own command line with this application, which is not looked for in the user's folder."""

import sys

from worker import celery

sys.exit(celery.start(sys.argv[1:]))
