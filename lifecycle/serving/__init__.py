"""Answering requests with the live release: fetch and verify it, load it, swap it, speak HTTP, measure it.

`store` brings a release to this machine, `engine` runs its model, `live` follows the ledger, `app` speaks
HTTP over them and `server` runs the process; `workers` runs several, which switch together by the `board`;
`notice` tells them to look; `probe` starts such a process to measure it. A new way to
answer (another protocol, another model format) goes here; what decides *which* release is live does not.
This is the only door to FastAPI, uvicorn, onnxruntime and fsspec. A serving process never imports MLflow,
Prefect, DVC or scikit-learn.
"""
