//! A page to talk from.

pub const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>chat</title>
<style>
  body { font: 1rem/1.5 system-ui; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
  ol { list-style: none; padding: 0; min-height: 10rem }
  input { width: 100%; font: inherit; padding: .5rem; box-sizing: border-box }
</style>
<h1>chat</h1>
<ol id="said"></ol>
<form><input autofocus autocomplete="off" placeholder="say something"></form>
<script>
  const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/\/[^/]*$/, "/room"));
  const input = document.querySelector("input");
  const add = text => { const line = document.createElement("li"); line.textContent = text; said.append(line) };
  socket.onmessage = event => add(event.data);
  socket.onclose = () => add("the room is closed");
  document.querySelector("form").onsubmit = event => {
    event.preventDefault();
    if (input.value) socket.send(input.value);
    input.value = "";
  };
</script>
"#;
