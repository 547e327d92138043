# A worker and the commands. Nothing in here runs as root.
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY backtrail backtrail
COPY ledger ledger
COPY producer producer
COPY worker worker
RUN python -m venv /opt/backtrail && /opt/backtrail/bin/pip install --no-cache-dir '.[postgres,mongo,flower,metrics,titles]'

FROM python:3.12-slim
COPY --from=build /opt/backtrail /opt/backtrail
RUN useradd --create-home --uid 10001 backtrail
ENV PATH=/opt/backtrail/bin:$PATH PYTHONUNBUFFERED=1
USER backtrail
# Migrations of your own are mounted here, or installed in an image that begins with this one.
WORKDIR /home/backtrail
ENTRYPOINT ["backtrail"]
CMD ["worker"]
