//! What each command answers, in each protocol.

mod support;

use std::collections::BTreeSet;

use support::{Server, store_dir};

/// Sends commands one after the other and compares the answers.
fn check(server: &Server, cases: &[(&str, &str)]) {
    let mut client = server.connect();
    for (command, answer) in cases {
        assert_eq!(client.command(command), *answer, "{command}");
    }
}

const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn values() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    check(
        &server,
        &[
            ("GET a", "nil"),
            ("SET a 1", "+OK"),
            ("GET a", "\"1\""),
            ("get a", "\"1\""),
            ("SET _ _", "+OK"),
            ("GET _", "\"\""),
            ("DEL _", "1"),
            ("SET a 2 NX", "nil"),
            ("SET b 2 NX", "+OK"),
            ("SET c 2 XX", "nil"),
            ("SET a 3 XX", "+OK"),
            ("SET a 4 GET", "\"3\""),
            ("SET c 4 GET", "nil"),
            ("SET c 5 NX GET", "\"4\""),
            ("GET c", "\"4\""),
            ("SET a 1 NX XX", SYNTAX),
            ("SET a 1 WHAT", SYNTAX),
            ("SET a 1 EX", SYNTAX),
            ("SET a 1 EX 10 PX 10", SYNTAX),
            ("SET a 1 EX 10 KEEPTTL", SYNTAX),
            ("SET a 1 EX ten", NOT_AN_INTEGER),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 PX -1", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("GET a", "\"4\""),
            ("SETNX a 9", "0"),
            ("SETNX d 9", "1"),
            ("GETSET d 10", "\"9\""),
            ("GETSET e 11", "nil"),
            ("GETDEL e", "\"11\""),
            ("GETDEL e", "nil"),
            ("GETEX d", "\"10\""),
            ("GETEX d WHAT", SYNTAX),
            ("GETEX d PERSIST 1", SYNTAX),
            ("GETEX d EX 10 PERSIST", SYNTAX),
            ("STRLEN d", "2"),
            ("STRLEN none", "0"),
            ("APPEND d ab", "4"),
            ("APPEND f ab", "2"),
            ("GET d", "\"10ab\""),
            ("MGET a none d", "[\"4\" nil \"10ab\"]"),
            ("MSET x 1 y 2 x 3", "+OK"),
            ("MGET x y", "[\"3\" \"2\"]"),
            ("MSET x 1 y", "-ERR wrong number of arguments for 'mset' command"),
            ("MSETNX y 9 z 9", "0"),
            ("GET z", "nil"),
            ("MSETNX z 9 w 9", "1"),
            ("MSETNX z 9 w", "-ERR wrong number of arguments for 'msetnx' command"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("GET a b", "-ERR wrong number of arguments for 'get' command"),
            ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' "),
        ],
    );
    server.stop();
}

#[test]
fn numbers() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    check(
        &server,
        &[
            ("INCR n", "1"),
            ("INCRBY n 41", "42"),
            ("DECR n", "41"),
            ("DECRBY n 50", "-9"),
            ("GET n", "\"-9\""),
            ("INCRBY n x", NOT_AN_INTEGER),
            ("INCRBY n 1.5", NOT_AN_INTEGER),
            ("INCRBY n 9223372036854775808", NOT_AN_INTEGER),
            ("SET n 9223372036854775806", "+OK"),
            ("INCR n", "9223372036854775807"),
            ("INCR n", "-ERR increment or decrement would overflow"),
            ("GET n", "\"9223372036854775807\""),
            ("SET n -9223372036854775808", "+OK"),
            ("DECR n", "-ERR increment or decrement would overflow"),
            ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
            ("INCRBY n 9223372036854775807", "-1"),
            ("SET n 01", "+OK"),
            ("INCR n", NOT_AN_INTEGER),
            ("SET n hello", "+OK"),
            ("DECR n", NOT_AN_INTEGER),
            ("GET n", "\"hello\""),
        ],
    );
    server.stop();
}

#[test]
fn times() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    check(
        &server,
        &[
            ("TTL k", "-2"),
            ("PTTL k", "-2"),
            ("EXPIRE k 10", "0"),
            ("PERSIST k", "0"),
            ("SET k v", "+OK"),
            ("TTL k", "-1"),
            ("PTTL k", "-1"),
            ("PERSIST k", "0"),
            ("EXPIRE k 100", "1"),
            ("TTL k", "100"),
            ("SET k w KEEPTTL", "+OK"),
            ("TTL k", "100"),
            ("APPEND k x", "2"),
            ("TTL k", "100"),
            ("EXPIRE k 200 NX", "0"),
            ("EXPIRE k 50 GT", "0"),
            ("EXPIRE k 200 GT", "1"),
            ("EXPIRE k 300 LT", "0"),
            ("EXPIRE k 100 LT", "1"),
            ("EXPIRE k 100 XX", "1"),
            ("EXPIRE k 300 XX GT", "1"),
            ("EXPIRE k 400 XX LT", "0"),
            ("EXPIRE k 100 xx lt", "1"),
            ("EXPIRE k 60 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
            ("EXPIRE k 60 XX NX", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
            ("EXPIRE k 60 GT LT", "-ERR GT and LT options at the same time are not compatible"),
            ("EXPIRE k 100 WHAT", "-ERR Unsupported option WHAT"),
            ("EXPIRE k x", NOT_AN_INTEGER),
            ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("TTL k", "100"),
            ("PERSIST k", "1"),
            ("TTL k", "-1"),
            ("EXPIRE k 1 XX", "0"),
            ("EXPIRE k 1 GT", "0"),
            ("EXPIREAT k 4102444800", "1"),
            ("EXPIRETIME k", "4102444800"),
            ("PEXPIRETIME k", "4102444800000"),
            ("PEXPIREAT k 4102444800123", "1"),
            ("PEXPIRETIME k", "4102444800123"),
            ("GETEX k PERSIST", "\"wx\""),
            ("EXPIRETIME k", "-1"),
            ("EXPIRETIME none", "-2"),
            ("GETEX k EXAT 4102444800", "\"wx\""),
            ("EXPIRETIME k", "4102444800"),
            ("SET k v", "+OK"),
            ("TTL k", "-1"),
            ("SETEX k 100 v", "+OK"),
            ("TTL k", "100"),
            ("PSETEX k 100000 v", "+OK"),
            ("TTL k", "100"),
            ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"),
            ("PSETEX k x v", NOT_AN_INTEGER),
            ("SET k v PXAT 4102444800123", "+OK"),
            ("PEXPIRETIME k", "4102444800123"),
            // What has passed deletes.
            ("EXPIRE k -1", "1"),
            ("EXISTS k", "0"),
            ("SET k v", "+OK"),
            ("EXPIREAT k 1", "1"),
            ("GET k", "nil"),
            ("SET k v EXAT 1", "+OK"),
            ("GET k", "nil"),
        ],
    );
    let mut client = server.connect();
    assert_eq!(client.command("SET gone v PX 50"), "+OK");
    std::thread::sleep(std::time::Duration::from_millis(80));
    assert_eq!(client.command("GET gone"), "nil");
    assert_eq!(client.command("INCR gone"), "1");
    assert_eq!(client.command("TTL gone"), "-1");
    server.stop();
}

#[test]
fn keys() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    check(
        &server,
        &[
            ("DBSIZE", "0"),
            ("KEYS *", "[]"),
            ("RANDOMKEY", "nil"),
            ("SCAN 0", "[\"0\" []]"),
            ("MSET a 1 b 2", "+OK"),
            ("EXISTS a b a c", "3"),
            ("TOUCH a c", "1"),
            ("TYPE a", "+string"),
            ("TYPE c", "+none"),
            ("DBSIZE", "2"),
            ("KEYS a*", "[\"a\"]"),
            ("KEYS ?x", "[]"),
            ("DEL a a c", "1"),
            ("UNLINK b c", "1"),
            ("SET only 1", "+OK"),
            ("RANDOMKEY", "\"only\""),
            ("SCAN 0 TYPE string", "[\"0\" [\"only\"]]"),
            ("SCAN 0 TYPE list", "[\"0\" []]"),
            ("SCAN 0 MATCH x* COUNT 100", "[\"0\" []]"),
            ("SCAN x", "-ERR invalid cursor"),
            ("SCAN -1", "-ERR invalid cursor"),
            ("SCAN 0 COUNT 0", SYNTAX),
            ("SCAN 0 COUNT x", NOT_AN_INTEGER),
            ("SCAN 0 COUNT", SYNTAX),
            ("SCAN 0 WHAT 1", SYNTAX),
            ("FLUSHDB WHAT", SYNTAX),
            ("FLUSHDB", "+OK"),
            ("FLUSHALL ASYNC", "+OK"),
            ("DBSIZE", "0"),
        ],
    );
    server.stop();
}

#[test]
fn a_scan_visits_every_key_once() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    let all: BTreeSet<String> = (0..1000).map(|number| format!("key:{number}")).collect();
    let pairs: Vec<String> = all.iter().map(|key| format!("{key} v")).collect();
    assert_eq!(client.command(&format!("MSET {}", pairs.join(" "))), "+OK");
    let (mut cursor, mut seen, mut calls) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let answer = client.command(&format!("SCAN {cursor} COUNT 7"));
        let mut words = answer.trim_matches(['[', ']']).split([' ', '[']).filter(|word| !word.is_empty());
        cursor = words.next().unwrap().trim_matches('"').to_owned();
        seen.extend(words.map(|word| word.trim_matches('"').to_owned()));
        calls += 1;
        // Others come and go meanwhile.
        client.command(&format!("SET other:{calls} v"));
        client.command(&format!("DEL other:{}", calls - 5));
        if cursor == "0" {
            break;
        }
    }
    assert!(calls > 10, "{calls} calls are no stretches");
    seen.retain(|key| key.starts_with("key:"));
    assert_eq!(seen.len(), all.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    let some = client.command("SCAN 0 COUNT 100000 MATCH key:99*");
    assert_eq!(some.matches("key:99").count(), 11);
    server.stop();
}

#[test]
fn the_connection_and_the_server() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    check(
        &server,
        &[
            ("PING", "+PONG"),
            ("PING hello", "\"hello\""),
            ("ECHO hello", "\"hello\""),
            ("SELECT 0", "+OK"),
            ("SELECT 1", "-ERR DB index is out of range"),
            ("SELECT x", NOT_AN_INTEGER),
            ("CLIENT GETNAME", "nil"),
            ("CLIENT SETNAME me", "+OK"),
            ("CLIENT GETNAME", "\"me\""),
            ("CLIENT SETINFO LIB-NAME lib", "+OK"),
            ("CLIENT SETINFO LIB-WHAT lib", "-ERR Unrecognized option 'LIB-WHAT'"),
            ("CLIENT NO-EVICT ON", "+OK"),
            ("CLIENT ID", "1"),
            ("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
            ("CLIENT ID 1", "-ERR wrong number of arguments for 'client|id' command"),
            ("CLIENT NO-EVICT MAYBE", SYNTAX),
            ("CONFIG NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP."),
            ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
            ("CONFIG HELP", "[+GET +HELP]"),
            ("COMMAND COUNT JUNK", "-ERR wrong number of arguments for 'command|count' command"),
            ("CONFIG GET save", "[\"save\" \"\"]"),
            ("CONFIG GET append*", "[\"appendfsync\" \"always\" \"appendonly\" \"yes\"]"),
            ("CONFIG GET nothing", "[]"),
            ("COMMAND COUNT", "58"),
            ("COMMAND INFO get nosuch", "[[\"get\" 2 [+readonly] 1 1 1 [] [] [] []] nil]"),
            ("COMMAND INFO mset", "[[\"mset\" -3 [+write] 1 -1 2 [] [] [] []]]"),
            (
                "AUTH x",
                "-ERR AUTH <password> called without any password configured for the default user. Are you sure \
              your configuration is correct?",
            ),
            ("AUTH x y", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("AUTH default y", "+OK"),
            ("HELLO 2 AUTH a b", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO 3 WHAT", "-ERR Syntax error in HELLO option 'WHAT'"),
            ("SAVE", "+OK"),
            ("RESET", "+RESET"),
            ("CLIENT GETNAME", "nil"),
            ("QUIT", "+OK"),
        ],
    );
    let mut client = server.connect();
    assert_eq!(client.command("BGSAVE"), "+Background saving started");
    assert!(client.command("LASTSAVE").parse::<u64>().unwrap() > 1_700_000_000);
    let time = client.command("TIME");
    assert!(time.starts_with("[\"1") && time.len() > 15, "{time}");
    assert!(client.command("CLIENT LIST").contains("cmd=client"), "the list has this client");
    let info = client.command("INFO");
    for part in [
        "# Server",
        "# Clients",
        "# Persistence",
        "# Stats",
        "last_lsn:",
        "wal_bytes:",
        "recovery_verdict:clean",
        "p99=",
    ] {
        assert!(info.contains(part), "{part} is not in {info}");
    }
    assert!(!client.command("INFO clients").contains("# Server"));
    server.stop();
}

#[test]
fn resp3_has_types_of_its_own() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    let hello = client.command("HELLO 3 SETNAME me");
    assert!(hello.starts_with("{\"server\": \"redis\", \"version\": ") && hello.contains("\"proto\": 3"), "{hello}");
    client.send_command(&[b"GET", b"none"]);
    assert_eq!(client.line().unwrap(), "_");
    assert_eq!(client.command("CONFIG GET save"), "{\"save\": \"\"}");
    assert_eq!(client.command("CLIENT GETNAME"), "\"me\"");
    client.send_command(&[b"INFO", b"clients"]);
    assert!(client.reply().starts_with("\"txt:# Clients"));
    assert_eq!(client.command("COMMAND INFO get"), "[[\"get\" 2 <+readonly> 1 1 1 <> [] [] []]]");
    assert!(client.command("HELLO 2").starts_with("[\"server\" \"redis\""));
    client.send_command(&[b"GET", b"none"]);
    assert_eq!(client.line().unwrap(), "$-1");
    server.stop();
}

#[test]
fn transactions() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    check(
        &server,
        &[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH a", "-ERR WATCH inside MULTI is not allowed"),
            ("EXEC", "[]"),
            ("MULTI", "+OK"),
            ("SET a 1", "+QUEUED"),
            ("INCR a", "+QUEUED"),
            ("GET a", "+QUEUED"),
            ("PING", "+QUEUED"),
            ("KEYS *", "+QUEUED"),
            ("DBSIZE", "+QUEUED"),
            ("EXEC", "[+OK 2 \"2\" +PONG [\"a\"] 1]"),
            // A command that fails keeps nobody else from being carried out.
            ("MULTI", "+OK"),
            ("SET b x", "+QUEUED"),
            ("INCR b", "+QUEUED"),
            ("SET c y", "+QUEUED"),
            ("EXEC", &format!("[+OK {NOT_AN_INTEGER} +OK]")),
            ("MGET b c", "[\"x\" \"y\"]"),
            // A command that cannot be queued spoils all.
            ("MULTI", "+OK"),
            ("SET b z", "+QUEUED"),
            ("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: "),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("GET b", "\"x\""),
            ("MULTI", "+OK"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "+OK"),
            ("SAVE", "-ERR Command not allowed inside a transaction"),
            ("DISCARD", "+OK"),
            ("MULTI", "+OK"),
            ("SET b z", "+QUEUED"),
            ("DISCARD", "+OK"),
            ("GET b", "\"x\""),
        ],
    );
    server.stop();
}

#[test]
fn watched_keys() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    // What others do between WATCH and EXEC, and whether that prevents it.
    for (before, meanwhile, prevents) in [
        ("SET k 1", "GET k", false),
        ("SET k 1", "SET other 1", false),
        ("SET k 1", "SET k 2", true),
        ("SET k 1", "SET k 1", true),
        ("SET k 1", "DEL k", true),
        ("DEL k", "SET k 1", true),
        ("DEL k", "DEL k", false),
        ("SET k 1", "EXPIRE k 1000", true),
    ] {
        client.command(before);
        assert_eq!(client.command("WATCH unrelated k k"), "+OK");
        other.command(meanwhile);
        assert_eq!(client.command("MULTI"), "+OK");
        assert_eq!(client.command("SET result x"), "+QUEUED");
        let answer = if prevents { "nil" } else { "[+OK]" };
        assert_eq!(client.command("EXEC"), answer, "{before}, meanwhile {meanwhile}");
        assert_eq!(client.command("DEL result"), if prevents { "0" } else { "1" });
    }
    // EXEC, DISCARD and UNWATCH end the watch.
    for end in ["UNWATCH", "MULTI DISCARD", "MULTI EXEC"] {
        client.command("WATCH k");
        end.split(' ').for_each(|command| drop(client.command(command)));
        other.command("SET k 3");
        client.command("MULTI");
        assert_eq!(client.command("EXEC"), "[]", "{end}");
    }
    server.stop();
}

#[test]
fn transactions_of_many_clients_are_serial() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let add = |optimistic: bool| {
        let mut client = server.connect();
        move || {
            for _ in 0..50 {
                if !optimistic {
                    client.command("INCR sum");
                    continue;
                }
                loop {
                    client.command("WATCH sum");
                    let value = client.command("GET sum");
                    let next = value.trim_matches('"').parse::<u64>().unwrap_or(0) + 1;
                    client.command("MULTI");
                    client.command(&format!("SET sum {next}"));
                    if client.command("EXEC") == "[+OK]" {
                        break;
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(add(number % 2 == 0));
        }
    });
    assert_eq!(server.connect().command("GET sum"), "\"300\"");
    server.stop();
}

#[test]
fn silence() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    for words in [
        "CLIENT REPLY SKIP",
        "SET a 1",
        "SET b 2",
        "CLIENT REPLY OFF",
        "SET c 3",
        "GET c",
        "NOSUCH",
        "CLIENT REPLY ON",
        "GET c",
    ] {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        client.send_command(&words);
    }
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+OK", "\"3\""]);
    server.stop();
}

#[test]
fn lines_of_text() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let mut client = server.connect();
    for (line, answer) in [
        ("SET foo bar", "OK"),
        ("GET foo", "VALUE bar"),
        ("BADCMD", "ERROR unknown command"),
        ("STATS", "gets:1 sets:1 dels:0 errors:1 keys:1 bytes:3"),
        ("get foo", "VALUE bar"),
        ("GET none", "NOT_FOUND"),
        ("DEL foo", "DELETED"),
        ("DEL foo", "NOT_FOUND"),
        ("STATS", "gets:3 sets:1 dels:1 errors:1 keys:0 bytes:0"),
        ("", "ERROR empty line"),
        ("GET", "ERROR missing arguments"),
        ("SET foo", "ERROR missing arguments"),
        ("SET foo bar EX", "ERROR missing arguments"),
        ("GET foo bar", "ERROR too many arguments"),
        ("SET foo bar baz", "ERROR too many arguments"),
        ("SET foo bar EX 1 2", "ERROR too many arguments"),
        ("STATS now", "ERROR too many arguments"),
        ("SET foo bar EX x", "ERROR value is not an integer or out of range"),
        ("SET foo bar EX 0", "ERROR invalid expire time in 'set' command"),
        ("SET foo bar EX 100", "OK"),
        ("PING", "PONG"),
        ("INCR n", "ERROR unknown command"),
        ("\u{1}\u{2}", "ERROR control character in line"),
        ("KEYS", "KEYS 1"),
    ] {
        assert_eq!(client.ask(line), answer, "{line:?}");
    }
    assert_eq!(client.line().unwrap(), "foo");
    assert_eq!(
        client.ask(&format!("SET {} v", "k".repeat(65_536))),
        "ERROR key too long: 65536 bytes, at most 65535 are taken"
    );
    assert_eq!(client.ask(&"x".repeat(2_000_000)), "ERROR line too long: at most 1048576 bytes are taken");
    assert_eq!(client.ask("QUIT"), "OK");
    assert_eq!(client.rest(), "");
    server.stop();
}

#[test]
fn answers_of_several_lines_say_how_many() {
    let (_dir, path) = store_dir();
    let server = Server::start(&path, &[]);
    let (mut text, mut resp) = (server.connect(), server.connect());
    resp.send_command(&[
        b"MSET",
        b"user:2",
        b"b",
        b"user:1",
        b"a",
        b"other",
        b"c",
        b"user: \n",
        b"d",
        b"lines",
        b"1\n2",
    ]);
    assert_eq!(resp.reply(), "+OK");
    for (ask, lines) in
        [("KEYS user:", &["user:\\x20\\x0a", "user:1", "user:2"][..]), ("KEYS none", &[]), ("KEYS o", &["other"])]
    {
        assert_eq!(text.ask(ask), format!("KEYS {}", lines.len()));
        for line in lines {
            assert_eq!(text.line().unwrap(), *line);
        }
    }
    assert_eq!(text.ask("GET lines"), "ERROR the value has a byte that a line cannot carry; RESP can");
    for (command, contains) in [("HELP", "SET key value"), ("LATENCY", "MSET count:1 p50:")] {
        let head = text.ask(command);
        let count: usize = head.strip_prefix(&format!("{command} ")).unwrap().parse().unwrap();
        let lines: Vec<String> = (0..count).map(|_| text.line().unwrap()).collect();
        assert!(lines.iter().any(|line| line.starts_with(contains)), "{lines:?}");
    }
    assert_eq!(text.ask("PING"), "PONG");
    server.stop();
}
