// What a client built with the official SDK does with a node, and what it must see.
//
//     client.mjs TOKEN URL..
//
// Each URL is an agent's. Everything is done in every version and binding that the SDK speaks.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import {
  ListTaskPushNotificationConfigsRequest,
  ListTasksRequest,
  SendMessageRequest,
  StreamResponse,
  Task,
  TaskPushNotificationConfig,
  verifyAgentCardSignature,
} from "@a2a-js/sdk";
import {
  ClientFactory,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
  RestTransportFactory,
} from "@a2a-js/sdk/client";
import { TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError } from "@a2a-js/sdk/errors";

const WAYS = [
  ["JSONRPC", "1.0"],
  ["HTTP+JSON", "1.0"],
  ["JSONRPC", "0.3"],
];
const WITHIN = 30_000;
const [token, ...urls] = process.argv.slice(2);

const fetchImpl = (url, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("authorization", `Bearer ${token}`);
  return fetch(url, { ...options, headers });
};

/** A message as the SDK wants it; `configuration` in the words of the protocol. */
const say = (text, task, configuration = {}) =>
  SendMessageRequest.fromJSON({
    message: {
      messageId: crypto.randomUUID(),
      role: "ROLE_USER",
      parts: [{ text }],
      ...(task && { taskId: task.id, contextId: task.contextId }),
    },
    configuration,
  });

const stateOf = (event) =>
  (event.task ?? event.statusUpdate ?? event).status.state.replace("TASK_STATE_", "");

async function* told(events) {
  for await (const event of events) yield StreamResponse.toJSON(event);
}

async function next(events) {
  const { value, done } = await events.next();
  assert(!done, "the stream has ended");
  return value;
}

async function collected(events) {
  const all = [];
  for await (const event of events) all.push(event);
  return all;
}

class Scenario {
  constructor(client, card, version) {
    Object.assign(this, { client, card, version });
  }

  async send(...said) {
    return Task.toJSON(await this.client.sendMessage(say(...said)));
  }

  async get(id, more = {}) {
    return Task.toJSON(await this.client.getTask({ id, tenant: "", ...more }));
  }

  async unary() {
    const task = await this.send("echo grüezi 🌍");
    assert.equal(stateOf(task), "COMPLETED");
    assert.equal(task.artifacts[0].parts[0].text, "echo grüezi 🌍");
    const read = await this.get(task.id);
    assert.equal(read.history[0].parts[0].text, "echo grüezi 🌍");
    // In 0.3, clients say zero when they want all of it.
    if (this.version === "0.3") return;
    const short = await this.get(task.id, { historyLength: 0 });
    assert.equal(short.history?.length ?? 0, 0);
  }

  async stream() {
    const events = await collected(told(this.client.sendMessageStream(say("stream"))));
    assert(events[0].task, JSON.stringify(events[0]));
    const pieces = events.flatMap((event) => event.artifactUpdate ?? []);
    const text = pieces.map((piece) => piece.artifact.parts[0].text).join("");
    assert.equal(text, "piece 0;piece 1;piece 2;");
    assert.deepEqual(pieces.map((piece) => piece.append ?? false), [false, true, true]);
    assert.equal(pieces.at(-1).lastChunk, true);
    assert.equal(stateOf(events.at(-1)), "COMPLETED");
    const task = await this.get(events[0].task.id);
    assert.equal(task.artifacts.length, 1);
    assert.equal(task.artifacts[0].parts.map((part) => part.text).join(""), text);
  }

  async conversation() {
    const asked = await this.send("ask");
    assert.equal(stateOf(asked), "INPUT_REQUIRED");
    assert.equal(asked.status.message.parts[0].text, "which one?");
    const done = await this.send("that one", asked);
    assert.deepEqual([done.id, stateOf(done)], [asked.id, "COMPLETED"]);
    await assert.rejects(this.send("more", done), UnsupportedOperationError);
  }

  async watching() {
    const first = told(this.client.sendMessageStream(say("wait")));
    const { task } = await next(first);
    while (stateOf(await next(first)) !== "WORKING");
    const watcher = told(this.client.resubscribeTask({ id: task.id, tenant: "" }));
    const snapshot = await next(watcher);
    assert.deepEqual([snapshot.task.id, stateOf(snapshot)], [task.id, "WORKING"]);
    if (this.version === "1.0") await this.listed(task);
    const canceled = await this.client.cancelTask({ id: task.id, tenant: "", metadata: undefined });
    assert.equal(stateOf(Task.toJSON(canceled)), "CANCELED");
    assert.equal(stateOf((await collected(watcher)).at(-1)), "CANCELED");
    assert.equal(stateOf((await collected(first)).at(-1)), "CANCELED");
    await assert.rejects(this.client.cancelTask({ id: task.id, tenant: "", metadata: undefined }), TaskNotCancelableError);
  }

  async listed(task) {
    const list = (asked) => this.client.listTasks(ListTasksRequest.fromJSON(asked));
    const own = await list({ contextId: task.contextId });
    assert.deepEqual(own.tasks.map((one) => one.id), [task.id]);
    const page = await list({ pageSize: 1 });
    assert.deepEqual([page.tasks.length, page.pageSize], [1, 1]);
    assert(page.nextPageToken && page.totalSize > 1);
    const more = await list({ pageSize: 1, pageToken: page.nextPageToken });
    assert.notEqual(more.tasks[0].id, page.tasks[0].id);
  }

  async push() {
    const received = [];
    const hook = createServer((request, response) => {
      let body = "";
      request.on("data", (piece) => (body += piece));
      request.on("end", () => {
        received.push([request.headers, body]);
        response.end();
        hook.emit("told");
      });
    });
    await new Promise((ready) => hook.listen(0, "127.0.0.1", ready));
    const url = `http://127.0.0.1:${hook.address().port}/hook`;
    const events = told(
      this.client.sendMessageStream(say("wait", undefined, { taskPushNotificationConfig: { url, token: "inline" } })),
    );
    const { task } = await next(events);
    const made = await this.client.createTaskPushNotificationConfig(
      TaskPushNotificationConfig.fromJSON({ taskId: task.id, id: "mine", url, token: "made" }),
    );
    assert.deepEqual([made.id, made.url], ["mine", url]);
    const named = { taskId: task.id, id: "mine", tenant: "" };
    assert.equal((await this.client.getTaskPushNotificationConfig(named)).token, "made");
    const all = ListTaskPushNotificationConfigsRequest.fromJSON({ taskId: task.id });
    assert.equal((await this.client.listTaskPushNotificationConfig(all)).configs.length, 2);
    await this.client.deleteTaskPushNotificationConfig(named);
    assert.equal((await this.client.listTaskPushNotificationConfig(all)).configs.length, 1);
    await this.client.cancelTask({ id: task.id, tenant: "", metadata: undefined });
    const isLast = ([, body]) => body.toUpperCase().includes("CANCELED");
    while (!received.some(isLast)) await new Promise((heard) => hook.once("told", heard));
    assert.equal(received.find(isLast)[0]["x-a2a-notification-token"], "inline");
    await collected(events);
    hook.close();
    hook.closeAllConnections();
  }

  async refusals() {
    await assert.rejects(this.get("00000000-0000-4000-8000-000000000000"), TaskNotFoundError);
  }

  async run() {
    for (const step of ["unary", "stream", "conversation", "watching", "push", "refusals"]) {
      let alarm;
      const late = new Promise((_, fail) => {
        alarm = setTimeout(() => fail(new Error("took too long")), WITHIN);
      });
      try {
        await Promise.race([this[step](), late]);
      } catch (error) {
        throw new Error(`${step}: ${error.stack}`);
      } finally {
        clearTimeout(alarm);
      }
    }
  }
}

/** The card, if the official verifier believes it. */
async function believedCard(base) {
  const url = `${base}/.well-known/agent-card.json`;
  // As it came: what the SDK's own resolver makes of it loses its security schemes on the way to the SDK's verifier.
  const asItCame = await (await fetchImpl(url, { headers: { "A2A-Version": "1.0" } })).json();
  await verifyAgentCardSignature(async (kid, jku) => {
    const { keys } = await (await fetch(jku)).json();
    return keys.find((key) => key.kid === kid);
  })(asItCame);
  return new DefaultAgentCardResolver({ fetchImpl }).resolve(url, "");
}

const legacyCompat = { enabled: true };
const factory = new ClientFactory({
  transports: [new JsonRpcTransportFactory({ fetchImpl, legacyCompat }), new RestTransportFactory({ fetchImpl })],
});
// What a verifier says of each signature that it does not take.
console.debug = () => {};
let failures = 0;
for (const base of urls) {
  const card = await believedCard(base);
  for (const [binding, version] of WAYS) {
    const supportedInterfaces = card.supportedInterfaces.filter(
      (way) => way.protocolBinding === binding && way.protocolVersion === version,
    );
    try {
      const client = await factory.createFromAgentCard({ ...card, supportedInterfaces });
      await new Scenario(client, card, version).run();
      console.log(`ok ${base} ${binding} ${version}`);
    } catch (error) {
      failures += 1;
      console.log(`FAILED ${base} ${binding} ${version}: ${error.message}`);
    }
  }
}
process.exit(failures === 0 ? 0 : 1);
