//! Loading: every source, every kind of problem, all at once; and the example file.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use url::Url;

use crate::settings;

use super::{ByteSize, Environment, Problems, Secret, Settings, example, from_json, load};

settings! {
    /// A house.
    ///
    /// It stands somewhere.
    struct House, check = House::check {
        /// Where it stands.
        address: SocketAddr = "127.0.0.1:7400", env ["HOUSE_ADDRESS", "OLD_HOUSE_ADDRESS"];
        /// Whether somebody is at home.
        occupied: bool = false, env ["HOUSE_OCCUPIED"];
        /// How many rooms.
        rooms: u32 = 3, in 1..=100, env ["HOUSE_ROOMS"];
        /// How long the bell rings.
        ring: Duration = "2s", in "100ms"..="1m", env ["HOUSE_RING_MS", "HOUSE_RING_SECONDS", "HOUSE_RING"];
        /// What fits through the letter box.
        letter: ByteSize = "1KiB", in 1..="1MiB", env ["HOUSE_LETTER"];
        /// The key.
        key: Option<Secret>, in 8..=64, env ["HOUSE_KEY", "OLD_HOUSE_KEY"];
        /// Who lives there.
        names: Vec<String> = ["nobody"], in 0..=3, env ["HOUSE_NAMES"];
        /// Who may come close.
        near: Vec<IpNet> = [], env ["HOUSE_NEAR"];
        /// Its colour.
        paint: Paint = "white", env ["HOUSE_PAINT"];
        /// Where to read about it.
        page: Option<Url>, env ["HOUSE_PAGE"];
        /// Where papers are.
        papers: PathBuf = "papers";
        /// What grows around it.
        garden: Garden;
        /// Others.
        sheds: Vec<Shed>;
    }
}
settings! {
    /// A garden.
    struct Garden {
        /// Trees in it.
        trees: u16 = 0, env ["HOUSE_TREES"];
    }
}
settings! {
    /// A shed.
    struct Shed, check = Shed::check {
        /// What it is called.
        name: String, in 1..=10, example "tools";
        /// Its key.
        key: Option<Secret>;
        /// Its size in square metres.
        size: u64 = 4;
        /// What opens its lock.
        pin: Option<Secret>, in 4..=4;
    }
}
settings! {
    /// A colour.
    enum Paint {
        /// As snow.
        White = "white",
        /// As coal.
        Black = "black",
    }
}

impl House {
    fn check(&self, problems: &mut Problems) {
        if self.occupied && self.key.is_none() {
            problems.add("key", "is needed when somebody is at home");
        }
        if matches!(self.names.as_slice(), [first, second] if first == second) {
            problems.add("names", "live there twice");
        }
    }
}

impl Shed {
    fn check(&self, problems: &mut Problems) {
        if self.name == "house" {
            problems.add("name", "is taken");
        }
    }
}

fn read(file: &str, variables: &[(&str, &str)]) -> Result<House, Problems> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("house.toml");
    fs::write(&path, file).unwrap();
    load(Some(&path), &variables.iter().copied().collect())
}

/// The problems of a file and environment, one per line; the file's own path reads `FILE`.
fn problems(file: &str, variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("house.toml");
    fs::write(&path, file).unwrap();
    let problems = load::<House>(Some(&path), &variables.iter().copied().collect()).unwrap_err();
    problems.to_string().replace(path.to_str().unwrap(), "FILE")
}

#[test]
fn without_anything_the_defaults_hold() {
    let house: House = load(None, &Environment::default()).unwrap();
    assert_eq!(house.address.to_string(), "127.0.0.1:7400");
    assert_eq!(
        (house.occupied, house.rooms, house.ring),
        (false, 3, Duration::from_secs(2))
    );
    assert_eq!(
        (house.letter.bytes(), house.letter.to_string()),
        (1024, "1KiB".to_owned())
    );
    assert_eq!(
        (house.key, house.names, house.near),
        (None, vec!["nobody".to_owned()], vec![])
    );
    assert_eq!(
        (house.paint.word(), house.page, house.papers),
        ("white", None, PathBuf::from("papers"))
    );
    assert_eq!((house.garden.trees, house.sheds.len()), (0, 0));
}

#[test]
fn the_file_overrides_defaults_and_the_environment_the_file() {
    let file = "rooms = 7\nring = \"1m\"\nletter = 2048\nnames = [\"a\", \"b\"]\npaint = \"black\"\n\
                near = [\"10.0.0.0/8\"]\n[garden]\ntrees = 5\n[[sheds]]\nname = \"tools\"\n[[sheds]]\nname = \"wood\"\nsize = 9";
    let house = read(file, &[]).unwrap();
    assert_eq!(
        (house.rooms, house.ring, house.letter.bytes()),
        (7, Duration::from_secs(60), 2048)
    );
    assert_eq!(
        (house.paint, house.garden.trees, house.near.len()),
        (Paint::Black, 5, 1)
    );
    let sheds: Vec<_> = house
        .sheds
        .iter()
        .map(|shed| (shed.name.as_str(), shed.size))
        .collect();
    assert_eq!(sheds, [("tools", 4), ("wood", 9)]);

    let variables = [
        ("HOUSE_ROOMS", " 8 "),
        ("OLD_HOUSE_ADDRESS", "[::1]:1"),
        ("HOUSE_NAMES", " x,, y "),
        ("HOUSE_OCCUPIED", "true"),
        ("OLD_HOUSE_KEY", "0123456789"),
        ("HOUSE_TREES", "6"),
        ("HOUSE_PAGE", ""),
    ];
    let house = read(file, &variables).unwrap();
    assert_eq!(
        (house.rooms, house.address.to_string(), house.garden.trees),
        (8, "[::1]:1".to_owned(), 6)
    );
    assert_eq!(
        (house.names, house.page),
        (vec!["x".to_owned(), "y".to_owned()], None)
    );
    assert_eq!(house.key.unwrap().expose(), "0123456789");
}

#[test]
fn the_first_name_that_is_set_wins() {
    let variables = [
        ("HOUSE_ADDRESS", "1.1.1.1:1"),
        ("OLD_HOUSE_ADDRESS", "2.2.2.2:2"),
    ];
    assert_eq!(
        read("", &variables).unwrap().address.to_string(),
        "1.1.1.1:1"
    );
}

#[test]
fn durations_take_the_unit_of_their_name() {
    let check = |name: &str, text: &str, expected: Duration| {
        assert_eq!(
            read("", &[(name, text)]).unwrap().ring,
            expected,
            "{name}={text}"
        );
    };
    check("HOUSE_RING_MS", "1500", Duration::from_millis(1500));
    check("HOUSE_RING_SECONDS", "15", Duration::from_secs(15));
    check("HOUSE_RING_SECONDS", "250ms", Duration::from_millis(250));
    check("HOUSE_RING", "30 s", Duration::from_secs(30));
}

#[test]
fn all_problems_are_reported_at_once() {
    let file = "adress = \"x\"\nrooms = 0\nring = 5\nletter = \"2MiB\"\npaint = \"blue\"\nnames = [1, \"a\", true]\n\
                garden = 3\n[[sheds]]\nnam = \"x\"\n[[sheds]]\nname = \"house\"\nkey = 5";
    let expected = "\
adress: unknown key, did you mean `address`?
HOUSE_OCCUPIED: expected true or false, found \"yes\"
rooms: must be between 1 and 100, found 0
ring: expected a time such as \"250ms\", \"30s\", \"5m\", \"12h\" or \"7d\", found 5
letter: must be between 1 and \"1MiB\", found \"2MiB\"
HOUSE_KEY: must be between 8 and 64 characters, found 7
names[0]: expected text, found 1
names[2]: expected text, found true
HOUSE_NEAR[1]: expected a network such as 10.0.0.0/8, found \"x\"
paint: expected one of `white` `black`, found \"blue\"
HOUSE_PAGE: expected a URL such as https://example.org, found \"nowhere\"
garden: expected a table, found 3
sheds[0].nam: unknown key, did you mean `name`?
sheds[0].name: is missing: expected text
sheds[1].key: expected a secret text, found a value of type integer
sheds[1].name: is taken";
    let variables = [
        ("HOUSE_OCCUPIED", "yes"),
        ("HOUSE_KEY", "hunter2"),
        ("HOUSE_NEAR", "10.0.0.0/8,x"),
        ("HOUSE_PAGE", "nowhere"),
    ];
    assert_eq!(problems(file, &variables), expected);
}

#[test]
fn problems_tell_the_size_that_was_found() {
    let check = |file: &str, variables: &[(&str, &str)], expected: &str| {
        assert_eq!(problems(file, variables), expected);
    };
    check(
        "key = \"hunter2\"",
        &[],
        "key: must be between 8 and 64 characters, found 7",
    );
    check(
        "",
        &[("HOUSE_NAMES", "a,b,c,d")],
        "HOUSE_NAMES: must be between 0 and 3 entries, found 4",
    );
    check(
        "[[sheds]]\nname = \"tools\"\npin = \"123\"",
        &[],
        "sheds[0].pin: must be 4 characters, found 3",
    );
    check(
        "names = \"a\"",
        &[],
        "names: expected a list, each entry text, found \"a\"",
    );
    check(
        "[garden]\ntrees = 65536",
        &[],
        "garden.trees: expected a whole number from 0 to 65535, found 65536",
    );
}

#[test]
fn variables_of_a_gateway_are_read_leniently_and_others_exactly() {
    use super::Scalar as _;
    let switch = |name: &str, text: &str, expected: Option<bool>| {
        assert_eq!(bool::from_variable(text, name), expected, "{name}={text}");
    };
    for (text, expected) in [("1", true), ("yes", true), ("TRUE", true), ("0", false)] {
        switch("GATEWAY_OPEN", text, Some(expected));
        switch("HOUSE_OPEN", text, None);
    }
    switch("GATEWAY_OPEN", "No", Some(false));
    switch("GATEWAY_OPEN", "perhaps", None);
    switch("HOUSE_OPEN", "true", Some(true));
    assert_eq!(
        Paint::from_variable(" Black ", "GATEWAY_PAINT"),
        Some(Paint::Black)
    );
    assert_eq!(Paint::from_variable("Black", "HOUSE_PAINT"), None);
}

#[test]
fn rules_over_several_keys_are_checked_beside_other_problems() {
    let file = "occupied = true\nrooms = 1000\n[[sheds]]\nname = \"house\"";
    let expected = "rooms: must be between 1 and 100, found 1000\nsheds[0].name: is taken\n\
                    key: is needed when somebody is at home";
    assert_eq!(problems(file, &[]), expected);

    // Whatever kind of value is wrong, and without a word on what follows from that alone.
    let check = |file: &str, expected: &str| {
        let file = format!("occupied = true\nnames = [\"a\", \"a\"]\n{file}");
        let twice = "names: live there twice";
        assert_eq!(problems(&file, &[]), format!("{expected}\n{twice}"));
    };
    let missing = "key: is needed when somebody is at home";
    check("", missing);
    check(
        "key = 5",
        "key: expected a secret text, found a value of type integer",
    );
    check(
        "key = \"short\"",
        "key: must be between 8 and 64 characters, found 5",
    );
    check(
        "page = \"x\"",
        &format!("page: expected a URL such as https://example.org, found \"x\"\n{missing}"),
    );
    check(
        "garden = 3",
        &format!("garden: expected a table, found 3\n{missing}"),
    );
    check(
        "sheds = 3",
        &format!("sheds: expected tables, found 3\n{missing}"),
    );
    check(
        "sheds = [{ name = \"house\" }, { size = 1 }, { name = \"house\" }]",
        &format!(
            "sheds[0].name: is taken\nsheds[1].name: is missing: expected text\nsheds[2].name: is taken\n{missing}"
        ),
    );
}

#[test]
fn a_broken_file_is_named_and_never_quoted() {
    let text = problems(
        "rooms = 3\nkey = \"hunter2-hunter2\n",
        &[("HOUSE_ROOMS", "x")],
    );
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines.first().unwrap().starts_with("FILE line 2: "),
        "{text}"
    );
    assert_eq!(
        lines.last().unwrap(),
        &"HOUSE_ROOMS: expected a whole number from 0 to 4294967295, found \"x\""
    );
    assert!(!text.contains("hunter2"), "{text}");

    let missing = load::<House>(
        Some("/nowhere/house.toml".as_ref()),
        &Environment::default(),
    )
    .unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("/nowhere/house.toml: cannot be read"),
        "{missing}"
    );
}

#[test]
fn a_secret_may_come_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, "0123456789\n").unwrap();
    let path = path.to_str().unwrap();
    let key = |file: &str, variables: &[(&str, &str)]| {
        read(file, variables)
            .unwrap()
            .key
            .map(|key| key.expose().to_owned())
    };
    assert_eq!(key("", &[("HOUSE_KEY_FILE", path)]).unwrap(), "0123456789");
    assert_eq!(
        key("", &[("OLD_HOUSE_KEY_FILE", path)]).unwrap(),
        "0123456789"
    );
    assert_eq!(
        key(&format!("key_file = {path:?}"), &[]).unwrap(),
        "0123456789"
    );
    assert_eq!(
        key(
            &format!("key_file = {path:?}"),
            &[("HOUSE_KEY", "from-variable")]
        )
        .unwrap(),
        "from-variable"
    );

    let check = |file: &str, variables: &[(&str, &str)], expected: &str| {
        assert_eq!(problems(file, variables), expected);
    };
    let both = "HOUSE_KEY: is set, and so is HOUSE_KEY_FILE: set one of them";
    check(
        "",
        &[("HOUSE_KEY", "0123456789"), ("HOUSE_KEY_FILE", path)],
        both,
    );
    check(
        "key = \"0123456789\"\nkey_file = \"x\"",
        &[],
        "key: is set, and so is `key_file`: set one of them",
    );
    check(
        "key_file = 5",
        &[],
        "key_file: expected the path of a file, found 5",
    );
    let unreadable = problems("", &[("HOUSE_KEY_FILE", "/nowhere/key")]);
    assert!(
        unreadable.starts_with("HOUSE_KEY_FILE: /nowhere/key cannot be read: "),
        "{unreadable}"
    );
    fs::write(path, "short").unwrap();
    check(
        "",
        &[("HOUSE_KEY_FILE", path)],
        "HOUSE_KEY_FILE: must be between 8 and 64 characters, found 5",
    );
}

#[test]
fn files_are_read_within_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, "0".repeat(65_537)).unwrap();
    for endless in [path.to_str().unwrap(), "/dev/zero"] {
        assert_eq!(
            problems("", &[("HOUSE_KEY_FILE", endless)]),
            format!("HOUSE_KEY_FILE: {endless} cannot be read: it has more than 64 KiB")
        );
    }
    let settings = load::<House>(Some("/dev/zero".as_ref()), &Environment::default());
    assert_eq!(
        settings.unwrap_err().to_string(),
        "/dev/zero: cannot be read: it has more than 16384 KiB"
    );
}

#[test]
fn sizes_and_times_have_one_spelling_each() {
    use super::Scalar as _;
    let size = |text: &str, bytes: Option<usize>| {
        assert_eq!(
            ByteSize::from_text(text).map(ByteSize::bytes),
            bytes,
            "{text}"
        )
    };
    size("512", Some(512));
    size("512B", Some(512));
    size(" 64 KiB ", Some(65_536));
    size("2GiB", Some(2 << 30));
    for wrong in ["", "KiB", "1kb", "1.5MiB", "-1", "99999999999GiB"] {
        size(wrong, None);
    }
    let time = |text: &str, seconds: Option<u64>| {
        assert_eq!(
            Duration::from_text(text).map(|time| time.as_secs()),
            seconds,
            "{text}"
        );
    };
    time("7d", Some(604_800));
    time("12h", Some(43_200));
    time("0s", Some(0));
    for wrong in ["", "5", "5 parsecs", "-1s", "1.5s"] {
        time(wrong, None);
    }
}

#[test]
fn the_example_shows_every_key_and_loads_as_the_defaults() {
    let page = example::<House>();
    for key in House::keys() {
        assert!(page.contains(key.name), "{}", key.name);
    }
    let expected = "\
# A house.
#
# It stands somewhere.

# Where it stands.
# Environment: HOUSE_ADDRESS, OLD_HOUSE_ADDRESS.
address = \"127.0.0.1:7400\"
";
    assert!(page.starts_with(expected), "{page}");
    let key = "
# The key.
# From 8 to 64.
# Environment: HOUSE_KEY, OLD_HOUSE_KEY.
# Or the path of a file that holds it: key_file.
#key = \"\"
";
    assert!(page.contains(key), "{page}");
    let tail = "
# What grows around it.
[garden]

# Trees in it.
# Environment: HOUSE_TREES.
trees = 0

# Others.
#[[sheds]]

# What it is called.
# From 1 to 10.
#name = \"tools\"

# Its key.
# Or the path of a file that holds it: key_file.
#key = \"\"

# Its size in square metres.
#size = 4

# What opens its lock.
# From 4 to 4.
# Or the path of a file that holds it: pin_file.
#pin = \"\"
";
    assert!(page.ends_with(tail), "{page}");
    assert_eq!(
        read(&page, &[]).unwrap(),
        load(None, &Environment::default()).unwrap()
    );
}

#[test]
fn an_environment_never_shows_its_values() {
    let environment: Environment = [("TOKEN", "hunter2")].into_iter().collect();
    assert_eq!(format!("{environment:?}"), "{\"TOKEN\"}");
    assert!(Environment::of_process().get("PATH").is_some());
}

settings! {
    /// What somebody else may say.
    struct Said {
        /// A name.
        name: String, in 1..=8;
        /// How much.
        share: f64 = 0.5, in 0..=1;
        /// A secret.
        token: Option<Secret>, in 4..=16;
    }
}

#[test]
fn settings_in_json_are_read_like_a_file() {
    let said: Said = from_json(r#"{"name":"a","share":1,"token":"hunter2"}"#).unwrap();
    assert_eq!((said.name.as_str(), said.share), ("a", 1.0));
    assert!(said.token.unwrap().matches(b"hunter2"));
    let check = |json: &str, expected: &[&str]| {
        let problems = from_json::<Said>(json).unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(places, expected, "{json}: {problems}");
    };
    let all = r#"{"nam":"a","share":1.01,"token":"abc","token_file":"/etc/hostname"}"#;
    check(all, &["token_file", "nam", "name", "share", "token"]);
    check("[]", &["body"]);
    check(r#"{"name":"a""#, &["body"]);
    check(r#"{"name":null}"#, &["body"]);
    let secret = from_json::<Said>(r#"{"name":"a","token":"hunter2hunter2hunter2"}"#);
    assert!(!secret.unwrap_err().to_string().contains("hunter2"));
}
