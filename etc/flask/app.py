"""A web application that has backups made on a host, and shows in the browser how far they are.

    HARPCALLER=127.0.0.1:3502 flask --app app run

No request waits for a backup. One submits the call and gets a job's id; with that, others ask
how far it is, or follow it. The id may be kept in a database, and be asked for tomorrow.

Who may do what is left out here, and is the application's to say. A job's id can't be guessed, but
whoever knows it can read the job's result: give it to nobody but those who may.
"""

import json
import os

from flask import Flask, Response, abort, request, url_for

import harp

#: The host, as the dispatcher's registry calls it. Its procedure is called with a database's name.
HOST = os.environ.get("BACKUP_HOST", "web01")
#: The databases that there are. What comes from a browser is compared with something of our own.
DATABASES = ("customers", "orders", "stock")

app = Flask(__name__)

# One for the whole process: it keeps connections, and serves all threads. The time-outs are how
# long a request may hang in here.
address, _, port = os.environ.get("HARPCALLER", "127.0.0.1:3502").partition(":")
rpc = harp.HarpCaller(address, int(port or 3502), connect_timeout=5, read_timeout=15)


@app.post("/backups")
def start():
    """Submit a call. When this returns, it is on the dispatcher's disk."""
    database = request.form.get("database")
    if database not in DATABASES:
        abort(400)
    # Two backups of one database wait for each other.
    server = rpc.host(HOST, queue={"backup of": database}, info={"from": "the web"})
    job_id = server.backup(database).id()
    urls = {"job": url_for("state", job_id=job_id), "events": url_for("events", job_id=job_id)}
    return urls, 201, {"Location": urls["job"]}


@app.get("/backups/<uuid:job_id>")
def state(job_id):
    """Tell how a backup is, at once."""
    return ending(known(job_id).result())


@app.delete("/backups/<uuid:job_id>")
def cancel(job_id):
    """End a backup; its processes on the host are gone a moment later."""
    return {"cancelled": known(job_id).cancel()}


@app.get("/backups/<uuid:job_id>/events")
def events(job_id):
    """Follow a backup, as server-sent events: a message for each record, and one for the end."""
    # After a break the browser comes again by itself, and tells the number of the last it has got.
    last = request.headers.get("Last-Event-ID", -1, type=int)
    try:
        job = known(job_id)
        told = messages(job, job.follow(since=max(0, last + 1), numbered=True))
    except harp.CommunicationError:
        # A browser that gets an error doesn't come again.
        told = "retry: 5000\n\n"
    # Servers between us and the browser shall pass on each message at once.
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(told, mimetype="text/event-stream", headers=headers)


def known(job_id):
    """Give a job that there is; for another, the answer is 404 by `refused` below."""
    job = rpc.job(str(job_id))
    job.procedure()
    return job


def messages(job, records):
    """Give the messages of one connection."""
    yield "retry: 1000\n\n"
    try:
        with records:
            for number, record in records:
                yield f"id: {number}\ndata: {json.dumps(record)}\n\n"
        yield f"event: end\ndata: {json.dumps(ending(job.result(wait=True)))}\n\n"
    except harp.CommunicationError:
        # Nothing new for 15 seconds, or the dispatcher is being restarted. We let the browser come
        # again after a second: if it has left meanwhile, this thread would never hear of it.
        return


def ending(result):
    """Put a job's ending into a form for the browser. There are four, and "not yet"."""
    if result is harp.CALL_NOT_FINISHED:
        return {"state": "running"}
    if result is harp.CALL_CANCELLED:
        return {"state": "cancelled"}
    if isinstance(result, harp.RemoteException):  # The procedure raised it.
        return {"state": "failed", "why": result.message}
    if isinstance(result, harp.RemoteError):  # Something else got in the way.
        return {"state": "error", "why": str(result)}
    return {"state": "done", "result": result}


@app.errorhandler(harp.RemoteError)
def refused(error):
    """Answer for a job that there is not, and for what the dispatcher can't do."""
    return {"error": str(error)}, 404 if error.type == "invalid_jobid" else 502


@app.errorhandler(harp.CommunicationError)
def unreachable(error):
    """Answer when the dispatcher can't be reached. A call may have become a job all the same."""
    app.logger.error("%s", error)
    return {"error": "calls can't be made just now"}, 503


@app.get("/")
def page():
    """The page; its script is what follows a backup."""
    options = "".join(f"<option>{database}</option>" for database in DATABASES)
    return PAGE.replace("OPTIONS", options)


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Backups</title>
<form><select name="database">OPTIONS</select> <button>Back up</button></form>
<pre></pre>
<script>
const form = document.querySelector("form");
const show = (text) => document.querySelector("pre").append(text + "\\n");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/backups", {method: "POST", body: new FormData(form)});
  if (!answer.ok) {
    return show("that didn't work: " + answer.status);
  }
  const events = new EventSource((await answer.json()).events);
  events.onmessage = (message) => show(message.data);
  events.addEventListener("end", (message) => {
    events.close();  // Otherwise it would come again.
    show(message.data);
  });
});
</script>
</html>
"""
