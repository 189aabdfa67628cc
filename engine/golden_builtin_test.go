package engine

import (
	"testing"

	"github.com/paretopress/paretopress/internal/builtin"
)

func TestBuiltinMatchesTransformers(t *testing.T) {
	ck, err := Open(Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	matchTransformers(t, ck, builtin.Text(20, 16384), "builtin_scores.json")
}
