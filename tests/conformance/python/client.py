"""What a client built with the official SDK does with a node, and what it must see.

    client.py TOKEN URL..

Each URL is an agent's. Everything is done in every version and binding that the SDK speaks.
"""

import asyncio
import json
import sys
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import httpx
import jwt
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers.proto_helpers import get_artifact_text, new_text_message
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from a2a.utils.signing import create_signature_verifier

WAYS = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3")]
WITHIN = 30


class Webhook:
    """A receiver of push notifications."""

    def __init__(self):
        self.received = received = Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                received.put((self.headers, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    async def until(self, found):
        while True:
            headers, body = await asyncio.to_thread(self.received.get, timeout=WITHIN)
            if found(body):
                return headers


def say(text, task=None, **configuration):
    message = new_text_message(text, role=Role.ROLE_USER)
    if task:
        message.task_id, message.context_id = task.id, task.context_id
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(**configuration))


def state_of(event):
    status = event.task.status if event.HasField("task") else event.status_update.status
    return TaskState.Name(status.state).removeprefix("TASK_STATE_")


async def collected(events):
    return [event async for event in events]


class Scenario:
    def __init__(self, http, base, card, binding, version):
        self.http, self.base, self.card, self.version = http, base, card, version
        # Of all ways on the card, the one to be tried.
        chosen = AgentCard()
        chosen.CopyFrom(card)
        del chosen.supported_interfaces[:]
        chosen.supported_interfaces.extend(
            way
            for way in card.supported_interfaces
            if (way.protocol_binding, way.protocol_version) == (binding, version)
        )
        assert chosen.supported_interfaces, f"the card does not offer {binding} {version}"
        self.streaming = self.client(chosen, binding, True)
        self.blocking = self.client(chosen, binding, False)

    def client(self, card, binding, streaming):
        config = ClientConfig(
            httpx_client=self.http, supported_protocol_bindings=[binding], streaming=streaming
        )
        return ClientFactory(config).create(card)

    async def unary(self):
        [answer] = await collected(self.blocking.send_message(say("echo grüezi 🌍")))
        assert state_of(answer) == "COMPLETED", answer
        assert get_artifact_text(answer.task.artifacts[0]) == "echo grüezi 🌍", answer
        task = await self.blocking.get_task(GetTaskRequest(id=answer.task.id))
        assert task.history[0].parts[0].text == "echo grüezi 🌍", task
        if self.version == "1.0":  # In 0.3, clients say zero when they want all of it.
            short = GetTaskRequest(id=answer.task.id, history_length=0)
            assert not (await self.blocking.get_task(short)).history

    async def stream(self):
        events = await collected(self.streaming.send_message(say("stream")))
        assert events[0].HasField("task"), events[0]
        pieces = [event.artifact_update for event in events if event.HasField("artifact_update")]
        told = "".join(piece.artifact.parts[0].text for piece in pieces)
        assert told == "piece 0;piece 1;piece 2;", events
        assert [piece.append for piece in pieces] == [False, True, True], pieces
        assert pieces[-1].last_chunk, pieces
        assert state_of(events[-1]) == "COMPLETED", events[-1]
        task = await self.blocking.get_task(GetTaskRequest(id=events[0].task.id))
        assert len(task.artifacts) == 1, task
        assert "".join(part.text for part in task.artifacts[0].parts) == told, task

    async def conversation(self):
        [asked] = await collected(self.blocking.send_message(say("ask")))
        assert state_of(asked) == "INPUT_REQUIRED", asked
        assert asked.task.status.message.parts[0].text == "which one?", asked
        [done] = await collected(self.blocking.send_message(say("that one", asked.task)))
        assert (done.task.id, state_of(done)) == (asked.task.id, "COMPLETED"), done
        try:
            await collected(self.blocking.send_message(say("more", done.task)))
        except UnsupportedOperationError:
            pass
        else:
            raise AssertionError("a task that has ended took a message")

    async def watching(self):
        async with aclosing(self.streaming.send_message(say("wait"))) as first:
            task = (await anext(first)).task
            while state_of(await anext(first)) != "WORKING":
                pass
            watcher = self.streaming.subscribe(SubscribeToTaskRequest(id=task.id))
            snapshot = await anext(watcher)
            assert (snapshot.task.id, state_of(snapshot)) == (task.id, "WORKING"), snapshot
            if self.version == "1.0":
                await self.listed(task)
            canceled = await self.blocking.cancel_task(CancelTaskRequest(id=task.id))
            assert TaskState.Name(canceled.status.state) == "TASK_STATE_CANCELED", canceled
            assert state_of((await collected(watcher))[-1]) == "CANCELED"
            assert state_of((await collected(first))[-1]) == "CANCELED"
        try:
            await self.blocking.cancel_task(CancelTaskRequest(id=task.id))
        except TaskNotCancelableError:
            pass
        else:
            raise AssertionError("a task was canceled twice")

    async def listed(self, task):
        page = await self.blocking.list_tasks(ListTasksRequest(context_id=task.context_id))
        assert [one.id for one in page.tasks] == [task.id], page
        page = await self.blocking.list_tasks(ListTasksRequest(page_size=1))
        assert (len(page.tasks), page.page_size) == (1, 1), page
        assert page.next_page_token and page.total_size > 1, page
        again = await self.blocking.list_tasks(
            ListTasksRequest(page_size=1, page_token=page.next_page_token)
        )
        assert again.tasks[0].id != page.tasks[0].id, again

    async def push(self):
        hook = Webhook()
        inline = TaskPushNotificationConfig(url=hook.url, token="inline")
        events = self.streaming.send_message(say("wait", task_push_notification_config=inline))
        task = (await anext(events)).task
        config = TaskPushNotificationConfig(task_id=task.id, id="mine", url=hook.url, token="made")
        made = await self.blocking.create_task_push_notification_config(config)
        assert (made.id, made.url) == ("mine", hook.url), made
        read = await self.blocking.get_task_push_notification_config(
            GetTaskPushNotificationConfigRequest(task_id=task.id, id="mine")
        )
        assert read.token == "made", read
        everything = ListTaskPushNotificationConfigsRequest(task_id=task.id)
        listed = await self.blocking.list_task_push_notification_configs(everything)
        assert len(listed.configs) == 2, listed
        delete = DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="mine")
        await self.blocking.delete_task_push_notification_config(delete)
        listed = await self.blocking.list_task_push_notification_configs(everything)
        assert len(listed.configs) == 1, listed
        await self.blocking.cancel_task(CancelTaskRequest(id=task.id))
        headers = await hook.until(lambda body: "CANCELED" in json.dumps(body).upper())
        assert headers["x-a2a-notification-token"] == "inline", headers
        await collected(events)

    async def refusals(self):
        try:
            await self.blocking.get_task(GetTaskRequest(id="00000000-0000-4000-8000-000000000000"))
        except TaskNotFoundError:
            pass
        else:
            raise AssertionError("a task was found that never was")
        if not self.card.capabilities.extended_agent_card:
            return
        card = await self.blocking.get_extended_agent_card(GetExtendedAgentCardRequest())
        assert card.name, card

    async def run(self):
        for step in ("unary", "stream", "conversation", "watching", "push", "refusals"):
            try:
                await asyncio.wait_for(getattr(self, step)(), WITHIN)
            except Exception as error:
                raise AssertionError(f"{step}: {error!r}") from error


async def believed_card(http, base):
    """The card, if the official verifier believes it."""
    keys = {}

    def key(kid, jku):
        if jku not in keys:
            keys[jku] = {key["kid"]: key for key in httpx.get(jku).json()["keys"]}
        return jwt.PyJWK(keys[jku][kid])

    verifier = create_signature_verifier(key, ["EdDSA"])
    return await A2ACardResolver(http, base).get_agent_card(signature_verifier=verifier)


async def main(token, urls):
    failures = 0
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=WITHIN) as http:
        for base in urls:
            http.headers["a2a-version"] = "1.0"
            card = await believed_card(http, base)
            for binding, version in WAYS:
                # Clients that share a connection pool share its headers, too.
                http.headers["a2a-version"] = version
                try:
                    await Scenario(http, base, card, binding, version).run()
                    print(f"ok {base} {binding} {version}", flush=True)
                except AssertionError as error:
                    failures += 1
                    print(f"FAILED {base} {binding} {version}: {error}", flush=True)
    sys.exit(failures != 0)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
