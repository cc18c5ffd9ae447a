package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPagesAreFresh(t *testing.T) {
	pages, err := open().pages()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what docgen writes (%v); run make generate", name, err)
		}
	}
	for _, dir := range []string{"docs/reference", "dist/man", "dist/completion"} {
		entries, err := os.ReadDir(filepath.Join("..", "..", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if _, ok := pages[dir+"/"+e.Name()]; !ok {
				t.Errorf("%s/%s is left over; run make generate", dir, e.Name())
			}
		}
	}
}

func TestEveryManualPageTellsTheExitCodes(t *testing.T) {
	for name, page := range open().manual() {
		for _, want := range []string{"EXIT STATUS", "124", "interrupted", "KANAME\\_SERVER"} {
			if !strings.Contains(string(page), want) && !strings.Contains(string(page), strings.ReplaceAll(want, "\\", "")) {
				t.Errorf("%s does not tell %s", name, want)
			}
		}
	}
}
