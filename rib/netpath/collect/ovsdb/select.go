package ovsdb

import (
	"context"
	"encoding/json"
	"fmt"
)

// Table is what to read of a table.
type Table struct {
	Name    string
	Columns []string // those that the server's schema lacks are left out of the rows
}

// Select reads all rows of some tables of a database at one instant (RFC 7047, 4.1.3). The
// result is in the order of tables.
func (c *Client) Select(ctx context.Context, database string, tables ...Table) ([][]Row, error) {
	raw, err := c.Call(ctx, "get_schema", database)
	if err != nil {
		return nil, err
	}
	var schema struct {
		Tables map[string]struct {
			Columns map[string]json.RawMessage `json:"columns"`
		} `json:"tables"`
	}
	if err = json.Unmarshal(raw, &schema); err != nil {
		return nil, fmt.Errorf("%s: schema of %s: %w", c.path, database, err)
	}
	params := []any{database}
	for _, t := range tables {
		has, ok := schema.Tables[t.Name]
		if !ok {
			return nil, fmt.Errorf("%s: database %s has no table %s", c.path, database, t.Name)
		}
		columns := []string{"_uuid"}
		for _, name := range t.Columns {
			if _, ok := has.Columns[name]; ok {
				columns = append(columns, name)
			}
		}
		params = append(params, map[string]any{"op": "select", "table": t.Name, "where": []any{}, "columns": columns})
	}
	if raw, err = c.Call(ctx, "transact", params...); err != nil {
		return nil, err
	}
	var results []struct {
		Rows    []Row  `json:"rows"`
		Error   string `json:"error"`
		Details string `json:"details"`
	}
	if err = json.Unmarshal(raw, &results); err != nil {
		return nil, fmt.Errorf("%s: answer of %s: %w", c.path, database, err)
	}
	out := make([][]Row, len(tables))
	for i, r := range results {
		if r.Error != "" {
			return nil, fmt.Errorf("%s: %s: %s", c.path, r.Error, r.Details)
		}
		if i < len(out) {
			out[i] = r.Rows
		}
	}
	if len(results) < len(tables) {
		return nil, fmt.Errorf("%s: %d results for %d tables", c.path, len(results), len(tables))
	}
	return out, nil
}

// Row is a row of a table. Its methods return zero values for columns that are missing,
// empty, or of another type.
type Row map[string]json.RawMessage

// Text returns a column that holds a string, or at most one.
func (r Row) Text(column string) string {
	if all := r.Texts(column); len(all) > 0 {
		return all[0]
	}
	return ""
}

// Texts returns a column that holds a set of strings.
func (r Row) Texts(column string) (out []string) {
	for _, raw := range set(r[column]) {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			out = append(out, s)
		}
	}
	return out
}

// Number returns a column that holds an integer, or at most one; ok tells whether it does.
func (r Row) Number(column string) (n int, ok bool) {
	all := r.Numbers(column)
	if len(all) == 0 {
		return 0, false
	}
	return all[0], true
}

// Numbers returns a column that holds a set of integers.
func (r Row) Numbers(column string) (out []int) {
	for _, raw := range set(r[column]) {
		var n int
		if json.Unmarshal(raw, &n) == nil {
			out = append(out, n)
		}
	}
	return out
}

// UUID returns the row's own identifier.
func (r Row) UUID() string {
	if all := r.References("_uuid"); len(all) > 0 {
		return all[0]
	}
	return ""
}

// References returns the identifiers in a column that refers to other rows.
func (r Row) References(column string) (out []string) {
	for _, raw := range set(r[column]) {
		var pair []string
		if json.Unmarshal(raw, &pair) == nil && len(pair) == 2 && pair[0] == "uuid" {
			out = append(out, pair[1])
		}
	}
	return out
}

// Map returns a column that holds a map of strings, nil if it is empty.
func (r Row) Map(column string) map[string]string {
	var kind string
	var pairs [][2]string
	if json.Unmarshal(r[column], &[]any{&kind, &pairs}) != nil || kind != "map" || len(pairs) == 0 {
		return nil
	}
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		out[p[0]] = p[1]
	}
	return out
}

// set returns the elements of a value: a value that is no set is one of itself (RFC 7047, 5.1).
func set(raw json.RawMessage) []json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	var kind string
	var elements []json.RawMessage
	if json.Unmarshal(raw, &[]any{&kind, &elements}) == nil && kind == "set" {
		return elements
	}
	return []json.RawMessage{raw}
}
