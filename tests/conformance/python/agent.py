"""An agent built with the official SDK, for a node to stand in front of.

Prints its port. What it is told decides what it does: `echo ..`, `stream`, `ask`, `wait`, `message`.
"""

import asyncio
import socket
import sys

import uvicorn
from a2a.helpers.proto_helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette


class Agent(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        said = context.get_user_input()
        if said == "message":
            await event_queue.enqueue_event(new_text_message("only a message"))
            return
        if not context.current_task:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        task = TaskUpdater(event_queue, context.task_id, context.context_id)
        await task.start_work()
        if said == "ask":
            await task.requires_input(new_text_message("which one?"))
            return
        if said == "wait":
            # Until somebody cancels it, which ends this task; never for ever.
            await asyncio.sleep(60)
        elif said == "stream":
            for piece in range(3):
                await task.add_artifact(
                    [new_text_part(f"piece {piece};")],
                    artifact_id="pieces",
                    append=piece > 0,
                    last_chunk=piece == 2,
                )
        else:
            await task.add_artifact([new_text_part(said)], artifact_id="said")
        await task.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def main(binding: str, version: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    card = AgentCard(
        name="python",
        description="Built with a2a-sdk.",
        version="1",
        supported_interfaces=[AgentInterface(url=url, protocol_binding=binding, protocol_version=version)],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="do", name="Do", description="Does as it is told.", tags=["test"])],
    )
    handler = DefaultRequestHandler(agent_executor=Agent(), task_store=InMemoryTaskStore(), agent_card=card)
    if binding == "JSONRPC":
        routes = create_jsonrpc_routes(handler, "/", enable_v0_3_compat=version == "0.3")
    else:
        routes = create_rest_routes(handler)
    app = Starlette(routes=[*create_agent_card_routes(card), *routes])
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


main(*sys.argv[1:])
