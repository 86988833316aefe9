# The gateway, for engines that run elsewhere. Mount a configuration at /etc/agentserve.yaml, and the key file that it names
# as `keys` (`agentserve keys create`; user 10001 has to own it): others can reach it, so nobody gets in without a key.
#   docker build -t agentserve . && docker run -p 8000:8000 -v ./agentserve.yaml:/etc/agentserve.yaml:ro \
#     -v ./keys.json:/etc/keys.json:ro agentserve
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/lock.txt requirements/lock.txt
COPY pyproject.toml README.md LICENSE ./
COPY agentserve agentserve
COPY scheduler scheduler
COPY tools tools
COPY simulator simulator
COPY workloads workloads
RUN python -m venv /opt/agentserve && /opt/agentserve/bin/pip install --no-cache-dir --constraint requirements/lock.txt .

FROM python:3.12-slim
COPY --from=build /opt/agentserve /opt/agentserve
RUN useradd --system --uid 10001 --no-create-home agentserve
USER 10001
ENV PATH=/opt/agentserve/bin:$PATH
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["agentserve"]
CMD ["serve", "--config", "/etc/agentserve.yaml", "--listen", "0.0.0.0:8000"]
