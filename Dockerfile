# docker build -t cdp .    docker run --name cdp -p 8000:8000 -v cdp-data:/data cdp
# docker exec cdp cdp source create shop --kind server

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY cdp ./cdp
# Editable, so that /app is the checkout that the program expects beside it: migrations and policies.
RUN python -m venv /venv \
 && /venv/bin/pip install -c requirements.lock -e '.[postgres,vault,aws,match,nats]'

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin cdp \
 && install -d -o cdp -g cdp -m 0700 /data
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
COPY migrations ./migrations
COPY policies ./policies
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CDP_DATA_DIR=/data CDP_POLICIES_DIR=/app/policies
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["sh", "-c", "cdp init && exec cdp serve --host 0.0.0.0 --port 8000"]
