# The project's Python code as an image, for everything but serving in production. One recipe; the
# packages differ. Built from the project's root:
#
#   docker build -f serving/container/python.Dockerfile -t image-classifier-tools:dev .
#   docker build … --build-arg PACKAGES=training -t image-classifier-training:dev .
#   docker build … --build-arg PACKAGES=training-gpu …                 with NVIDIA's libraries
#
# tools: the local server as tensorflow_model_server, the client as `tfs`, the load test with the
# sample pictures (CC-BY-NC-SA-4.0: not for commercial use). training: training and export.
#
# Runs as user 1000 in the project's root, and needs no writable disk but /tmp and where results go.
# As process 1 a server wants --init:
#
#   docker run --init --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -p 8500:8500 -p 8501:8501 -v "$PWD/models:/models:ro" image-classifier-tools:dev \
#     tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file=serving/models.config \
#     --allow_version_labels_for_unavailable_models=true
#
# No HEALTHCHECK: most of what runs here ends by itself.

# The Python that the lock files beside this are solved for, and an empty environment where the
# project's own lies. It has no pip: nothing is added later.
FROM python:3.11-slim-bookworm AS python
WORKDIR /opt/image-classifier
RUN python -m venv --without-pip .venv

# The client, by a wheel: what builds it stays here.
FROM python AS client
COPY serving/container/build.lock /build/
RUN pip install --no-cache-dir --no-deps --require-hashes -r /build/build.lock
COPY serving/client /build/client
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /build/wheels /build/client \
  && pip --python .venv/bin/python install --no-cache-dir --no-deps --no-index /build/wheels/*.whl

FROM python AS packages
ARG PACKAGES=tools
COPY serving/container/${PACKAGES}.lock /build/packages.lock
RUN pip --python .venv/bin/python install --no-cache-dir --no-deps --require-hashes -r /build/packages.lock \
  # C++ headers, thousands of files that only a compiler reads.
  && rm -r .venv/lib/python3.11/site-packages/tensorflow/include

FROM python
ENV PATH=/opt/image-classifier/.venv/bin:$PATH \
    # The root is read-only: nothing to write beside the code, and caches go to /tmp.
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib
# The large layer first: it stays as it is when code changes.
COPY --from=packages /opt/image-classifier/.venv .venv
COPY --from=client /opt/image-classifier/.venv/bin/tfs .venv/bin/
COPY --from=client /opt/image-classifier/.venv/lib/python3.11/site-packages .venv/lib/python3.11/site-packages
COPY foundation foundation
COPY training training
COPY export export
COPY serving serving
COPY loadtest loadtest
RUN ln -s /opt/image-classifier/serving/tensorflow_model_server /usr/local/bin/tensorflow_model_server
USER 1000:1000
CMD ["tfs", "--help"]
