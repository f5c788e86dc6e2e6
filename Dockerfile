# Curricle with the versions that its tests ran with. Built from the repository's root:
#
#   docker build -t curricle .
#   docker run --rm --gpus all --ipc host --env-file .env -v "$PWD:/workspace" curricle curricle doctor
#
# torch comes from PyPI, which for Linux holds the CUDA build; for a CPU alone, build with
#   --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
FROM python:3.11-slim

ARG TORCH_INDEX=https://pypi.org/simple
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HOME=/workspace/.cache/huggingface \
    CURRICLE_CACHE=/workspace/.cache/curricle

WORKDIR /curricle
COPY constraints.txt ./
RUN pip install torch --constraint constraints.txt --index-url "$TORCH_INDEX"
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY recipes /curricle/recipes
RUN pip install '.[mlflow]' --constraint constraints.txt

# Nothing a run does needs more than an ordinary user, and what it writes lies under /workspace.
RUN useradd --create-home --uid 1000 curricle && mkdir /workspace && chown curricle /workspace
USER curricle
WORKDIR /workspace
CMD ["curricle", "--help"]
