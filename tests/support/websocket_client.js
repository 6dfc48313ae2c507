// One conversation by WebSocket, in a browser or in node with the package `ws`, whose WebSocket has the same face.
//
// Messages are texts, or bytes as {"bytes": [...]}. All are sent at once; when as many have come back the client closes
// with `code` and "bye". Without any the server has to close.

function plain(data) {
  return typeof data === "string" ? data : { bytes: Array.from(new Uint8Array(data)) };
}

function converse(Socket, { url, protocols, messages, code }, options) {
  const told = { opened: false, received: [] };
  return new Promise((resolve) => {
    const socket = new Socket(url, protocols, options);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      Object.assign(told, { opened: true, protocol: socket.protocol, extensions: socket.extensions });
      messages.forEach((message) => socket.send(message.bytes ? Uint8Array.from(message.bytes) : message));
    };
    socket.onmessage = (event) => {
      told.received.push(plain(event.data));
      if (told.received.length === messages.length) socket.close(code, "bye");
    };
    socket.onerror = (event) => { told.error = event.message || "error"; };
    socket.onclose = (event) => resolve({ ...told, code: event.code, reason: event.reason });
  });
}

// node FILE FOLDER-OF-WS < [conversation, …]
if (typeof process !== "undefined") {
  const { WebSocket } = require(process.argv[2]);
  const conversations = JSON.parse(require("fs").readFileSync(0));
  const all = conversations.map((one) => converse(WebSocket, one, { rejectUnauthorized: false }));
  Promise.all(all).then((told) => process.stdout.write(JSON.stringify(told)));
}
