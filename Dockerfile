# `scripts/pin-images` names it by its digest.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
COPY requirements.lock .
# Without gevent's own tests and C sources.
RUN pip install --no-cache-dir --root-user-action=ignore --prefix=/dependencies \
        --require-hashes -r requirements.lock \
    && cd /dependencies/lib/python3.*/site-packages \
    && rm -rf gevent/tests gevent/testing \
    && find . -name '*.c' -delete

FROM ${PYTHON_IMAGE} AS package
WORKDIR /source
COPY requirements-build.lock .
RUN pip install --no-cache-dir --root-user-action=ignore \
        --require-hashes -r requirements-build.lock
COPY . .
RUN pip install --no-cache-dir --root-user-action=ignore --prefix=/package \
        --no-build-isolation --no-deps .

FROM ${PYTHON_IMAGE}
# DATA_DIR is for DISCOVERY=folders; mount volumes on it and on SPOOL_DIR.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/var/lib/amazin \
    SPOOL_DIR=/var/spool/amazin
RUN useradd --uid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin gateway \
    && install --directory --owner gateway --group gateway "$DATA_DIR" "$SPOOL_DIR"
COPY --from=dependencies /dependencies /usr/local
COPY --from=package /package /usr/local
COPY docker-entrypoint.sh /usr/local/bin/
# What `gunicorn wsgi:app` reads; nothing else is here.
WORKDIR /app
COPY gunicorn.conf.py .
# In a running container the command gives up root, too.
RUN chmod a+rX . gunicorn.conf.py \
    && printf '#!/bin/sh\nexec docker-entrypoint.sh python -P -m amazin.cli "$@"\n' \
        >/usr/local/bin/amazin \
    && chmod 755 /usr/local/bin/amazin /usr/local/bin/docker-entrypoint.sh
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-P", "-c", "import os, urllib.request as u; from amazin.settings.config_file import load_settings; s = load_settings(os.environ); u.urlopen(f'http://127.0.0.1:{s.port}{s.health_path}', timeout=2)"]
# No USER: the entrypoint gives up root by itself, see there.
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["python", "-P", "-m", "amazin.serving.start"]
