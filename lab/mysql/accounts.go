package mysql

// The accounts that every server of the lab has, besides root over the unix socket.
const (
	UserAdmin = "kaname" // may do everything
	UserRepl  = "repl"   // replicates
	UserApp   = "app"    // works with the database app

	PasswordAdmin = "lab-Admin-1"
	PasswordRepl  = "lab-Repl-1"
	PasswordApp   = "lab-App-1"
)

var passwords = map[string]string{UserAdmin: PasswordAdmin, UserRepl: PasswordRepl, UserApp: PasswordApp}

// seed is what a template holds: accounts, and tables for applications and for proofs.
// It is not in the binary log, so that every copy begins with an empty GTID state.
var seed = []string{
	"SET SESSION sql_log_bin=0",
	"CREATE USER '" + UserAdmin + "'@'%' IDENTIFIED BY '" + PasswordAdmin + "'",
	"GRANT ALL PRIVILEGES ON *.* TO '" + UserAdmin + "'@'%' WITH GRANT OPTION",
	"CREATE USER '" + UserRepl + "'@'%' IDENTIFIED BY '" + PasswordRepl + "'",
	"GRANT REPLICATION SLAVE ON *.* TO '" + UserRepl + "'@'%'",
	"CREATE USER '" + UserApp + "'@'%' IDENTIFIED BY '" + PasswordApp + "'",
	"CREATE DATABASE app",
	"GRANT SELECT, INSERT, UPDATE, DELETE ON app.* TO '" + UserApp + "'@'%'",
	// What bench and lab/mysql/load write: one row for each acknowledged write.
	"CREATE TABLE app.acks (id BIGINT PRIMARY KEY, writer INT NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)) ENGINE=InnoDB",
	"CREATE TABLE app.proof (id BIGINT PRIMARY KEY) ENGINE=InnoDB",
}
