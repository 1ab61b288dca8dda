"""A Celery worker as the guide has it: each task asks a model. Its broker is a folder, or whatever BROKER_URL says."""

import os

from celery import Celery
from celery.signals import worker_process_shutdown
from openai import OpenAI
from streamwatch import flush

folder = os.environ.get("BROKER_FOLDER", "broker")
app = Celery(broker=os.environ.get("BROKER_URL", "filesystem://"), backend=f"file://{os.path.abspath(folder)}")
os.makedirs(folder, exist_ok=True)
if "BROKER_URL" not in os.environ:
    app.conf.broker_transport_options = {
        "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder
    }  # fmt: skip


@worker_process_shutdown.connect
def send_the_rest(**_):
    flush()  # Celery's children end without Python's own end


@app.task(name="ask")
def ask():
    question = [{"role": "user", "content": "count!"}]
    stream = OpenAI().chat.completions.create(model="gpt-4o", messages=question, stream=True)
    return os.getpid(), "".join(chunk.choices[0].delta.content or "" for chunk in stream)
