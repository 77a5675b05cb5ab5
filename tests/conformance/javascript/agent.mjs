// An agent built with the official SDK, for a node to stand in front of.
//
// Prints its port. What it is told decides what it does: `echo ..`, `stream`, `ask`, `wait`, `message`.
import { createServer } from "node:http";
import { AgentCard, Artifact, Message, Task, TaskArtifactUpdateEvent, TaskStatusUpdateEvent } from "@a2a-js/sdk";
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from "@a2a-js/sdk/server";
import { agentCardHandler, jsonRpcHandler, restHandler, UserBuilder } from "@a2a-js/sdk/server/express";
import express from "express";

const [binding, version] = process.argv.slice(2);

class Agent {
  waiting = new Map();

  async execute(context, bus) {
    const { taskId, contextId, userMessage } = context;
    const said = userMessage.parts[0].content.value;
    const ids = { taskId, contextId };
    const message = (text) =>
      Message.fromJSON({ messageId: crypto.randomUUID(), role: "ROLE_AGENT", parts: [{ text }], ...ids });
    const status = (state, text) =>
      bus.publish(
        AgentEvent.statusUpdate(
          TaskStatusUpdateEvent.fromJSON({
            ...ids,
            status: {
              state: `TASK_STATE_${state}`,
              timestamp: new Date().toISOString(),
              message: text && Message.toJSON(message(text)),
            },
          }),
        ),
      );
    const artifact = (artifactId, text, append = false, lastChunk = true) =>
      bus.publish(
        AgentEvent.artifactUpdate(
          TaskArtifactUpdateEvent.fromJSON({ ...ids, artifact: { artifactId, parts: [{ text }] }, append, lastChunk }),
        ),
      );
    if (said === "message") {
      bus.publish(AgentEvent.message(message("only a message")));
      return bus.finished();
    }
    // The SDK wants the task at the beginning of every turn, as it is now.
    const working = Task.fromJSON({ id: taskId, contextId, status: { state: "TASK_STATE_WORKING", timestamp: new Date().toISOString() } });
    bus.publish(AgentEvent.task({ ...working, ...context.task, status: working.status, history: context.task?.history ?? [userMessage] }));
    if (said === "ask") {
      status("INPUT_REQUIRED", "which one?");
    } else if (said === "wait") {
      // Until somebody cancels it; never for ever.
      await new Promise((ended) => {
        this.waiting.set(taskId, ended);
        setTimeout(ended, 60_000).unref();
      });
      status("CANCELED");
    } else {
      if (said === "stream") {
        for (const piece of [0, 1, 2]) artifact("pieces", `piece ${piece};`, piece > 0, piece === 2);
      } else {
        artifact("said", said);
      }
      status("COMPLETED");
    }
    bus.finished();
  }

  async cancelTask(taskId) {
    this.waiting.get(taskId)?.();
    this.waiting.delete(taskId);
  }
}

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const url = `http://127.0.0.1:${port}/`;
  const card = AgentCard.fromJSON({
    name: "javascript",
    description: "Built with @a2a-js/sdk.",
    version: "1",
    supportedInterfaces: [{ url, protocolBinding: binding, protocolVersion: version }],
    capabilities: { streaming: true, pushNotifications: false },
    defaultInputModes: ["text/plain"],
    defaultOutputModes: ["text/plain"],
    skills: [{ id: "do", name: "Do", description: "Does as it is told.", tags: ["test"] }],
  });
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), new Agent());
  const legacyCompat = { enabled: version === "0.3" };
  const options = { requestHandler, userBuilder: UserBuilder.noAuthentication, legacyCompat };
  const app = express();
  app.use("/.well-known/agent-card.json", agentCardHandler({ agentCardProvider: requestHandler, legacyCompat }));
  app.use("/", binding === "JSONRPC" ? jsonRpcHandler(options) : restHandler(options));
  server.on("request", app);
  console.log(port);
});
