//! A browser: Chromium through its WebDriver, which is JSON over HTTP (W3C WebDriver). Only what these tests ask for.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// For anything that a loaded machine does.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A window.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// Open, so that it can go on talking.
    _said: BufReader<ChildStdout>,
}

impl Browser {
    /// A window of that size, or `None` with a word where there is no Chromium.
    pub fn open(width: u32, height: u32) -> Option<Self> {
        let there = |program: &str| {
            Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output()
                .is_ok_and(|o| o.status.success())
        };
        if !there("chromium") || !there("chromedriver") {
            assert!(
                std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(),
                "chromium and chromedriver are required here"
            );
            eprintln!("skipped: needs chromium and chromedriver");
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("started successfully") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "chromedriver says its port");
        }
        let port =
            line.rsplit_once("on port ").and_then(|(_, port)| port.trim().trim_end_matches('.').parse().ok());
        let port = port.expect("chromedriver says its port");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--force-device-scale-factor=1",
            &format!("--window-size={width},{height}"),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 90_000, "pageLoad": 90_000 },
        } } });
        let mut this = Self { driver, port, session: String::new(), _said: said };
        let opened = this.ask("POST", "/session", Some(&wanted)).expect("a window");
        this.session = format!("/session/{}", opened["sessionId"].as_str().unwrap());
        Some(this)
    }

    /// What the driver answers.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(PATIENCE * 2)).map_err(|e| e.to_string())?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).map_err(|e| e.to_string())?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(|e| e.to_string())?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(|_| "a length")?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut octets = vec![0; length];
        reader.read_exact(&mut octets).map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_slice(&octets).map_err(|e| e.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    fn command(&self, method: &str, what: &str, body: Option<&Value>) -> Result<Value, String> {
        self.ask(method, &format!("{}{what}", self.session), body)
    }

    pub fn go(&self, url: &str) {
        self.command("POST", "/url", Some(&json!({ "url": url }))).unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    /// Runs a function's body in the page; what it returns.
    pub fn run(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.command("POST", "/execute/sync", Some(&body)).unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// The same of what calls `done(result)` when it is ready.
    pub fn run_until_done(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        let body = json!({ "script": script, "args": [] });
        self.command("POST", "/execute/async", Some(&body)).unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Waits until an expression is true in the page.
    pub fn until(&self, what: &str) {
        let start = Instant::now();
        // A page that is being replaced has no answer.
        let script = format!("try {{ return Boolean({what}) }} catch (error) {{ return String(error) }}");
        let body = json!({ "script": script, "args": [] });
        while self.command("POST", "/execute/sync", Some(&body)) != Ok(Value::Bool(true)) {
            if start.elapsed() > PATIENCE {
                panic!("waited in vain: {what}\n{}\n{:?}", self.text(), self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the page says so.
    pub fn until_says(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", Value::from(text)));
    }

    /// What the page says.
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Presses keys, one after the other, as somebody at the keyboard does. `{Enter}` and its kin have names.
    pub fn press(&self, keys: &[&str]) {
        let mut actions = Vec::new();
        for key in keys {
            let code = match *key {
                "{Enter}" => "\u{e007}",
                "{Escape}" => "\u{e00c}",
                "{Tab}" => "\u{e004}",
                "{Down}" => "\u{e015}",
                "{Up}" => "\u{e013}",
                key => key,
            };
            for code in code.chars().map(String::from) {
                actions.push(json!({ "type": "keyDown", "value": code }));
                actions.push(json!({ "type": "keyUp", "value": code }));
            }
        }
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("POST", "/actions", Some(&body)).unwrap();
    }

    /// Clicks where the middle of an element is, if nothing covers it.
    pub fn click(&self, selector: &str) {
        let found = json!({ "using": "css selector", "value": selector });
        let element =
            self.command("POST", "/element", Some(&found)).unwrap_or_else(|e| panic!("{selector}: {e}"));
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        let clicked = self.command("POST", &format!("/element/{id}/click"), Some(&json!({})));
        clicked.unwrap_or_else(|e| panic!("{selector}: {e}"));
    }

    /// Clicks the button with that text.
    pub fn click_button(&self, text: &str) {
        let mark = format!(
            "const it = [...document.querySelectorAll('button')].filter((b) => b.innerText.trim() === {text} && b.checkVisibility() \
             && (!document.querySelector('dialog[open]') || b.closest('dialog'))); \
             if (it.length !== 1) return it.length; it[0].setAttribute('data-under-test', ''); return 'one'",
            text = Value::from(text)
        );
        assert_eq!(self.run(&mark), "one", "a button {text}\n{}", self.text());
        self.click("[data-under-test]");
        self.run("document.querySelectorAll('[data-under-test]').forEach((b) => b.removeAttribute('data-under-test'))");
    }

    /// A screen of that size, smaller than a window can be.
    pub fn screen(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size });
        self.command("POST", "/goog/cdp/execute", Some(&body)).unwrap();
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.command("POST", "/window/rect", Some(&json!({ "width": width, "height": height }))).unwrap();
    }

    /// What the browser has complained of since it was asked last.
    pub fn log(&self) -> Vec<String> {
        let body = json!({ "type": "browser" });
        let log = self.command("POST", "/se/log", Some(&body)).unwrap_or_default();
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// A picture of the page, for who wants to see it: in the directory that `CARNET_SCREENSHOTS` names.
    pub fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os("CARNET_SCREENSHOTS") else { return };
        let picture = self.command("GET", "/screenshot", None).unwrap();
        use base64::Engine as _;
        let octets = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), octets).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its window, and its driver after it.
        let _ = self.command("DELETE", "", None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
