package binlog_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	labmysql "kaname.dev/kaname/lab/mysql"
	"kaname.dev/kaname/rib/mysql/gtid"
)

// beginning makes a schema with all that a log can have.
func beginning(flavour string) []string {
	out := []string{
		"CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4",
		"CREATE DATABASE IF NOT EXISTS `müll` CHARACTER SET latin1",
		"USE shop",
		`CREATE TABLE IF NOT EXISTS goods (id BIGINT AUTO_INCREMENT PRIMARY KEY, tiny TINYINT, utiny TINYINT UNSIGNED, med MEDIUMINT, big BIGINT UNSIGNED,
			price DECIMAL(30,6), f FLOAT, d DOUBLE, doc JSON, raw BLOB, huge LONGBLOB, name VARCHAR(300) CHARACTER SET utf8mb4, fixed CHAR(10),
			d0 DATE, dt DATETIME(6), dt3 DATETIME(3), ts TIMESTAMP(3) NULL, tm TIME(2), y YEAR, bits BIT(11), e ENUM('red','grün'), s SET('a','b','c'),
			made TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))`,
		"CREATE TABLE IF NOT EXISTS log (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(200), n DOUBLE) CHARACTER SET latin1",
		"CREATE TABLE IF NOT EXISTS nokey (a INT, b TEXT)",
		"CREATE TABLE IF NOT EXISTS parent (id INT PRIMARY KEY)",
		"CREATE TABLE IF NOT EXISTS child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id))",
		"CREATE OR REPLACE VIEW cheap AS SELECT id, name FROM goods WHERE price < 10",
		"DROP PROCEDURE IF EXISTS restock",
		"SET SESSION sql_mode='ANSI_QUOTES,STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES'",
		`CREATE PROCEDURE restock(n INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < n DO INSERT INTO log (what) VALUES ('re''stock \ ; "x'); SET i = i + 1; END WHILE; END`,
		"SET SESSION sql_mode=DEFAULT",
		"DROP TRIGGER IF EXISTS sold",
		"CREATE TRIGGER sold AFTER DELETE ON goods FOR EACH ROW INSERT INTO log (what) VALUES (CONCAT('sold ', OLD.id))",
		"CREATE USER IF NOT EXISTS clerk@localhost IDENTIFIED BY 'secret;''x'",
		"GRANT SELECT, INSERT ON shop.* TO clerk@localhost",
		"CREATE TEMPORARY TABLE scratch (id INT)", "INSERT INTO scratch VALUES (1), (2)",
		"INSERT INTO nokey (a, b) SELECT id, 'from scratch' FROM scratch", "DROP TEMPORARY TABLE scratch",
	}
	if flavour == gtid.MariaDB {
		out = append(out, "CREATE SEQUENCE IF NOT EXISTS numbers", "DO NEXTVAL(numbers)")
	}
	return out
}

// middle changes what there is in all ways.
var middle = []string{
	`INSERT INTO goods (tiny, utiny, med, big, price, f, d, doc, raw, name, fixed, d0, dt, dt3, ts, tm, y, bits, e, s) VALUES
		(-128, 255, -8388608, 18446744073709551615, -12345678901.1234, 1.5, -2.25e-300, '{"k": [1, 2.5, null, "ü"], "deep": {"a": true}}', x'00ff27220a5c', 'grüße 🎏', 'x',
		'2026-11-24', '2026-11-24 10:11:12.345678', '1000-01-01 00:00:00.001', '2038-01-19 03:14:07.999', '-838:59:58.99', 1901, b'10000000001', 'grün', 'a,c'),
		(NULL, NULL, NULL, NULL, 0.000001, NULL, NULL, NULL, '', '', '', NULL, NULL, NULL, NULL, '-00:00:00.01', 2155, b'0', NULL, '')`,
	"INSERT INTO goods (name, huge) VALUES ('three megabytes', REPEAT('0123456789abcdef', 196608))",
	"INSERT INTO goods (name, price) SELECT CONCAT('copy of ', name), price FROM goods WHERE name <> 'three megabytes' LIMIT 10",
	"UPDATE goods SET price = price * 1.01, name = CONCAT('new ', name) WHERE name LIKE 'copy%' LIMIT 5",
	"DELETE FROM goods WHERE name LIKE '%copy%' LIMIT 2",
	"SET SESSION binlog_row_image='MINIMAL'", "UPDATE goods SET tiny = 7 WHERE id % 3 = 0", "SET SESSION binlog_row_image='FULL'",
	"BEGIN", "INSERT INTO parent VALUES (#N)", "INSERT INTO child VALUES (#N, #N)", "SAVEPOINT sp", "INSERT INTO parent VALUES (-#N)",
	"ROLLBACK TO SAVEPOINT sp", "UPDATE parent, nokey SET nokey.a = nokey.a + 1 WHERE parent.id = #N", "COMMIT",
	"SET SESSION foreign_key_checks=0", "INSERT INTO child VALUES (#N + 100000, 424242)", "SET SESSION foreign_key_checks=1",
	"SET SESSION binlog_format='STATEMENT'", "SET @who = 'naïve', @k = -5, @none = NULL, @d = 1.25e0, @dec = -3.50",
	"INSERT INTO log (what, n) VALUES (CONCAT('by hand ', @who, COALESCE(@none, '-')), @k + @d + @dec)", "INSERT INTO log (what, n) VALUES ('random', RAND())",
	"SET SESSION time_zone='+09:00', auto_increment_increment=7, auto_increment_offset=3", "INSERT INTO log (what, n) VALUES (NOW(6), LAST_INSERT_ID())",
	"SET SESSION time_zone=DEFAULT, auto_increment_increment=DEFAULT, auto_increment_offset=DEFAULT", "SET SESSION binlog_format='ROW'",
	"ALTER TABLE nokey ADD COLUMN c#N INT DEFAULT 3", "CALL restock(3)",
	"CREATE TABLE made#N AS SELECT id, name, price FROM goods LIMIT 3", "RENAME TABLE made#N TO `müll`.`made #N`", "TRUNCATE TABLE `müll`.`made #N`",
	"INSERT INTO log (what) VALUES ('line one\nDELIMITER x\r\n/* ; */ -- no comment \\ end')",
}

// onlyMySQL is what MariaDB does not have: transactions compressed as a whole, tags, and rows
// that say only what changes in a document.
var onlyMySQL = []string{
	"SET SESSION binlog_transaction_compression=ON", "INSERT INTO goods (name, huge) VALUES ('packed', REPEAT('x', 300000)), ('packed too', NULL)",
	"BEGIN", "UPDATE goods SET price=1 WHERE name LIKE 'packed%'", "DELETE FROM goods WHERE name = 'packed too'", "COMMIT", "SET SESSION binlog_transaction_compression=OFF",
	"SET SESSION gtid_next='AUTOMATIC:night_shift'", "INSERT INTO log (what) VALUES ('tagged')", "CREATE TABLE tagged#N (a INT)", "SET SESSION gtid_next='AUTOMATIC'",
	"SET SESSION binlog_row_value_options='PARTIAL_JSON'", "UPDATE goods SET doc=JSON_SET(doc, '$.deep.a', 7) WHERE doc IS NOT NULL",
	"SET SESSION binlog_row_value_options=''",
}

// story writes to a server about all that can be in a log, then single rows, and returns the
// number of transactions, which is at least n.
func story(t *testing.T, s *labmysql.Server, n int) int {
	t.Helper()
	before := executed(t, s)
	start, _ := before.Count()
	s.Exec(t, beginning(s.Flavour)...)
	statements := []string{"USE shop"}
	all := middle
	if s.Flavour == gtid.MySQL {
		all = slices.Concat(middle, onlyMySQL)
	}
	for _, m := range all {
		statements = append(statements, strings.ReplaceAll(m, "#N", strconv.FormatUint(start+1, 10)))
	}
	s.Exec(t, statements...)
	statements = []string{"USE shop"}
	for i := range n {
		statements = append(statements, fmt.Sprintf("INSERT INTO log (what, n) VALUES ('row %d', %d)", i, i))
	}
	s.Exec(t, statements...)
	done, _ := executed(t, s).Minus(before).Count()
	return int(done)
}
