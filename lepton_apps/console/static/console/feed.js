// The live feed of one vertical: a socket that resumes after the last event it has given out.
// Numbers have no gaps, so a missing one is seen by arithmetic and fetched by reconnecting.

const CLOSED_BAD_CURSOR = 4400;
const CLOSED_SIGNED_OUT = 4401;
const CLOSED_REFUSED = new Set([4403, 4404]); // coming back would not help
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;

const numberOf = (cursor) => Number(cursor.split(":")[1]);

export class Feed {
  // handlers: event(type, body), async snapshot(), state(feed)
  constructor(vertical, cursor, heartbeatS, handlers) {
    this.vertical = vertical;
    this.cursor = cursor;
    this.patienceMs = heartbeatS * 2500;
    this.handlers = handlers;
    this.live = false;
    this.refused = false;
    this.stopped = false; // until the page was loaded anew
    this.lostAt = null;
    this.failures = 0;
    this.socket = null;
    this.timer = null;
    this.watchdog = null;
  }

  connect() {
    clearTimeout(this.timer);
    this.drop();
    this.stopped = false;
    const url = new URL("/ws/alerts/", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.search = new URLSearchParams({ vertical: this.vertical, cursor: this.cursor });
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onmessage = (message) => {
      if (socket === this.socket) this.take(JSON.parse(message.data));
    };
    socket.onclose = (event) => {
      if (socket === this.socket) this.closed(event.code);
    };
    this.watch();
  }

  // Go on from another place, after the page was loaded anew.
  restart(cursor) {
    this.cursor = cursor;
    this.connect();
  }

  take(frame) {
    this.watch();
    if (this.stopped) return;
    if (frame.type === "feed.hello") {
      this.failures = 0;
      this.lostAt = null;
      this.live = true;
      this.handlers.state(this);
    } else if (frame.type === "snapshot_required") {
      this.reload();
    } else if (frame.type === "feed.heartbeat") {
      if (frame.number > numberOf(this.cursor)) this.lost();
    } else if (frame.type.startsWith("alert.")) {
      const expected = numberOf(this.cursor) + 1;
      if (frame.number < expected) return;
      if (frame.number > expected) {
        this.lost();
        return;
      }
      this.cursor = frame.cursor;
      this.handlers.event(frame.type, frame.body);
    }
  }

  closed(code) {
    if (code === CLOSED_SIGNED_OUT) {
      const back = encodeURIComponent(location.pathname + location.search);
      location.assign(`${document.body.dataset.signIn}?next=${back}`);
    } else if (CLOSED_REFUSED.has(code)) {
      this.drop();
      this.live = false;
      this.refused = true;
      this.handlers.state(this);
    } else if (code === CLOSED_BAD_CURSOR) {
      this.reload();
    } else {
      this.lost();
    }
  }

  // The events since the cursor cannot be had: the page comes anew and then calls restart().
  reload() {
    this.stopped = true;
    this.handlers.snapshot().catch(() => this.lost());
  }

  lost() {
    this.drop();
    this.live = false;
    this.lostAt ??= Date.now();
    this.handlers.state(this);
    // A little chance, so that a thousand consoles do not come back in the same instant.
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures) * (0.5 + Math.random() / 2);
    this.failures += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  drop() {
    clearTimeout(this.watchdog);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  watch() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.lost(), this.patienceMs);
  }
}
