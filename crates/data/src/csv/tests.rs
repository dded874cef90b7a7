use super::*;

const TEXT: &str = "id,city,rooms,price\n1,Paris,3,10.5\n2,Bern,2,7\n3,Paris,10,20\n";

fn labels(table: &Table) -> Vec<u32> {
    match table.target() {
        Target::Classes { labels, .. } => labels.clone(),
        Target::Values(_) => vec![],
    }
}

fn error(csv: Csv) -> String {
    csv.read().unwrap_err().to_string()
}

#[test]
fn features_target_and_categories_are_chosen_by_name_or_number() {
    let table =
        Csv::from_bytes(TEXT).features(["rooms", "city"]).categorical(["city"]).value_target("price").read().unwrap();
    assert_eq!(table.target(), &Target::Values(vec![10.5, 7.0, 20.0]));
    assert_eq!(table.columns()[1], Column::categorical("city", vec!["Bern".into(), "Paris".into()]));
    assert_eq!((table.row(0).unwrap(), table.row(1).unwrap()), (&[3.0, 1.0][..], &[2.0, 0.0][..]));
    let same = Csv::from_bytes(TEXT).features([2, 1]).categorical([1]).value_target(3).read().unwrap();
    assert_eq!(same, table);
}

#[test]
fn every_other_column_is_a_feature_unless_told() {
    let table = Csv::from_bytes(TEXT).class_target("city").read().unwrap();
    let names: Vec<&str> = table.columns().iter().map(Column::name).collect();
    assert_eq!((names, labels(&table)), (vec!["id", "rooms", "price"], vec![1, 0, 1]));
}

#[test]
fn integer_classes_sort_as_numbers() {
    let table = Csv::from_bytes(TEXT).features(["id"]).class_target("rooms").read().unwrap();
    assert_eq!((table.class_names(), labels(&table)), (&["2", "3", "10"].map(String::from)[..], vec![1, 0, 2]));
}

#[test]
fn no_header_other_delimiter_quotes_and_byte_order_mark() {
    let text = "\u{feff}1;\"a;\"\"b\"\"\"\r\n\r\n2; c \r\n";
    let table = Csv::from_bytes(text).no_header().delimiter(b';').class_target(1).read().unwrap();
    assert_eq!((table.columns()[0].name(), table.row(0).unwrap()), ("column_0", &[1.0][..]));
    assert_eq!(table.class_names(), ["a;\"b\"", "c"]);
}

#[test]
fn missing_values_are_errors_unless_allowed() {
    let text = "x,c,y\n1,a,0\nNA,?,1\n,b,1\n nan ,a,0\n";
    let csv = || Csv::from_bytes(text).categorical(["c"]).class_target("y");
    assert_eq!(error(csv()), "CSV:3: column `x`: missing value `NA`");
    let table = csv().allow_missing().read().unwrap();
    let nan: Vec<Vec<bool>> = (0..4).map(|i| table.row(i).unwrap().iter().map(|v| v.is_nan()).collect()).collect();
    assert_eq!(nan, [[false, false], [true, true], [true, false], [true, false]]);
    let target = Csv::from_bytes("x,y\n1,\n").class_target("y").allow_missing();
    assert_eq!(error(target), "CSV:2: column `y`: missing value ``");
}

#[test]
fn errors_say_the_line_and_the_column() {
    let line = |text: &str| error(Csv::from_bytes(text).value_target("y"));
    assert_eq!(line("x,y\n1,2\n3\n"), "CSV:3: row of 1 values, expected 2");
    assert_eq!(line("x,y\n1,2\n3,4,5\n"), "CSV:3: row of 3 values, expected 2");
    assert_eq!(line("x,y\n1,2\nred,4\n"), "CSV:3: column `x`: expected a finite number, got `red`");
    assert_eq!(line("x,y\n1,inf\n"), "CSV:2: column `y`: expected a finite number, got `inf`");
    // Blank lines, Windows line ends and line ends inside quotes all count.
    assert_eq!(line("x,y\r\n1,2\r\n\r\n\r\nred,4\r\n"), "CSV:5: column `x`: expected a finite number, got `red`");
    assert_eq!(line("x,y\n\n\n1,2\n\nred,4\n"), "CSV:6: column `x`: expected a finite number, got `red`");
    assert_eq!(line("x,\"y\n\"\n1,2\nred,4\n"), "CSV:4: column `x`: expected a finite number, got `red`");
    assert_eq!(line("x,y\n\"1\n\",2\nred,4\n"), "CSV:4: column `x`: expected a finite number, got `red`");
    assert_eq!(error(Csv::from_bytes(b"x,y\n1,2\n\xff,3\n".to_vec()).value_target("y")), "CSV:3: not UTF-8 text");
    let long = line(&format!("x,y\n{},1\n", "z".repeat(10_000)));
    assert!(long.len() < 200, "{long}");
}

#[test]
fn a_wrong_choice_of_columns_lists_them() {
    let wrong = |csv: Csv| error(csv);
    let text = || Csv::from_bytes(TEXT);
    assert_eq!(wrong(text().class_target("town")), "CSV: no target column `town`; columns are id, city, rooms, price");
    assert_eq!(wrong(text().class_target(4)), "CSV: no target column 4; columns are id, city, rooms, price");
    assert!(wrong(text()).starts_with("CSV: no target chosen; columns are id"));
    assert!(wrong(text().class_target("id").features(["rooms", "cost"])).contains("no feature column `cost`"));
    assert!(wrong(text().class_target("id").features(["rooms", "id"])).contains("`id` is chosen twice"));
    assert!(wrong(text().class_target("id").features(["rooms", "rooms"])).contains("`rooms` is chosen twice"));
    assert!(
        wrong(text().class_target("id").features(["rooms"]).categorical(["city"])).contains("not among the features")
    );
    let twice = wrong(Csv::from_bytes("x,x,y\n1,2,3\n").features(["x"]).class_target("y"));
    assert_eq!(twice, "CSV: columns 0 and 1 are both called `x`: choose by number");
    assert!(Csv::from_bytes("x,x,y\n1,2,3\n").class_target("y").read().is_ok());
}

#[test]
fn nothing_to_read_is_an_error() {
    assert_eq!(error(Csv::from_bytes("").class_target(0)), "CSV: no rows");
    assert!(error(Csv::from_bytes("x,y\n").class_target("y")).contains("got 0 rows, 1 features"));
    assert!(error(Csv::from_bytes("y\n1\n").class_target("y")).contains("got 1 rows, 0 features"));
    let missing = error(Csv::open("/nowhere/data.csv").class_target("y"));
    assert!(missing.starts_with("/nowhere/data.csv: "), "{missing}");
}

#[test]
fn a_second_file_is_read_like_the_first() {
    let train = Csv::from_bytes("c,x,y\nred,1,no\nblue,2,yes\n").categorical(["c"]).class_target("y").read().unwrap();
    let test = Csv::from_bytes("extra,y,x,c\n9,yes,5,red\n").like(&train).read().unwrap();
    assert_eq!((test.columns(), test.class_names()), (train.columns(), train.class_names()));
    assert_eq!((test.row(0).unwrap(), labels(&test)), (&[1.0, 5.0][..], vec![1]));
    let unknown = error(Csv::from_bytes("y,x,c\nyes,5,green\n").like(&train));
    assert_eq!(unknown, "CSV:2: column `c`: `green` is not among the 2 known values");
}

#[test]
fn a_file_on_disk_is_named_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, "x,y\nred,1\n").unwrap();
    assert!(
        error(Csv::open(&path).class_target("y")).ends_with("a.csv:2: column `x`: expected a finite number, got `red`")
    );
}
