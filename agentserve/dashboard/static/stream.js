// The feed: frames as they come, and again after a break. The key goes in a header, which `EventSource` cannot send.
const FIRST = 500;
const LONGEST = 10_000;

export const key = {
  get: () => sessionStorage.getItem("agentserve.key") ?? "",
  set: (text) => sessionStorage.setItem("agentserve.key", text),
};

const headers = () => (key.get() ? { authorization: `Bearer ${key.get()}` } : {});

// Asks the gateway; the error's message is the gateway's.
export async function ask(path) {
  const answer = await fetch(path, { headers: headers() });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error?.message ?? `the gateway answered with status ${answer.status}`);
  return body;
}

// Calls `take` with each frame and `tell(state, text)` with how the connection is, until a recording has ended.
export async function follow(take, tell, refused) {
  let pause = FIRST;
  for (;;) {
    let why = "the gateway has ended the feed";
    try {
      const answer = await fetch("/agentserve/v1/watch", { headers: headers(), cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) {
        tell("lost", "a key is needed");
        await refused((await answer.json()).error?.message ?? "");
        continue;
      }
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error?.message ?? `status ${answer.status}`);
      const heard = (frame) => { pause = FIRST; take(frame); };
      if (await read(answer.body, heard)) return;
    } catch (error) {
      why = error instanceof TypeError ? "the gateway does not answer" : error.message;
    }
    tell("lost", `${why}; trying again in ${pause / 1000} s`);
    await new Promise((done) => setTimeout(done, pause));
    tell("wait", "connecting again");
    pause = Math.min(2 * pause, LONGEST);
  }
}

// Whether the last frame said that it was the last.
async function read(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let last = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return last.end === true;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue;
      last = JSON.parse(event.slice(6));
      take(last);
    }
  }
}
