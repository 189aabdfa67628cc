package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestVocabularySmolLM2 takes the real vocabulary from GGUF to tokenizer.json.
func TestVocabularySmolLM2(t *testing.T) {
	v := smolLM2Vocabulary(t)
	types := map[TokenType]int{}
	for _, token := range v.Tokens {
		types[token.Type]++
	}
	if v.Kind != VocabularyBPE || v.Pre != "smollm" || len(v.Tokens) != 49152 || len(v.Merges) != 48900 || v.BOS != 1 || v.EOS != 2 || v.Unknown != 0 || v.Pad != 2 ||
		v.AddBOS || v.AddEOS || types[TokenControl] != 17 || types[TokenNormal] != 49135 || len(v.ChatTemplate) != 368 {
		t.Errorf("%s %s: %d tokens, %d merges, special %d %d %d %d, added %v %v, types %v, a template of %d bytes", v.Kind, v.Pre,
			len(v.Tokens), len(v.Merges), v.BOS, v.EOS, v.Unknown, v.Pad, v.AddBOS, v.AddEOS, types, len(v.ChatTemplate))
	}
	made, err := v.TokenizerJSON()
	if err != nil {
		t.Fatal(err)
	}
	tok, err := parseTokenizer(made)
	if err != nil {
		t.Fatal(err)
	}
	compareTokens(t, filepath.Join(tokenizerFolder, "smollm2.json"), map[string]*Tokenizer{"smollm2": tok})
}

func smolLM2Vocabulary(t *testing.T) *Vocabulary {
	t.Helper()
	path := os.Getenv("PARETOPRESS_SMOLLM2")
	if path == "" {
		t.Skip("PARETOPRESS_SMOLLM2 does not name the GGUF file of SmolLM2-135M-Instruct")
	}
	v, err := openModel(t, path).Vocabulary()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestPeersTokenizer lets tokenizers and transformers load what TokenizerJSON and
// TokenizerConfigJSON make.
func TestPeersTokenizer(t *testing.T) {
	python := os.Getenv("PARETOPRESS_PYTHON")
	if python == "" {
		t.Skip("PARETOPRESS_PYTHON does not name a Python with bench/peers/requirements.txt")
	}
	args := []string{"../bench/peers/check_tokenizer.py"}
	add := func(v *Vocabulary, cases, kind string) {
		t.Helper()
		dir := t.TempDir()
		args = append(args, filepath.Join(tokenizerFolder, cases), kind, dir)
		for name, write := range map[string]func() ([]byte, error){"tokenizer.json": v.TokenizerJSON, "tokenizer_config.json": v.TokenizerConfigJSON} {
			data, err := write()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	ck := openModel(t, spmModelFolder(t, 805, map[string][]byte{
		"tokenizer.model":     readFile(t, filepath.Join(tokenizerFolder, "spm.model")),
		"chat_template.jinja": []byte("{{ messages[0].content }}"),
	}))
	v, err := ck.Vocabulary()
	if err != nil {
		t.Fatal(err)
	}
	add(v, "spm_cases.json", "spm")
	for _, kind := range slices.Sorted(slices.Values(tokenizerKinds)) {
		if kind == "flags" { // GGUF cannot say them
			continue
		}
		ck := openModel(t, spmModelFolder(t, 720, map[string][]byte{
			"tokenizer.json":        readFile(t, filepath.Join(tokenizerFolder, kind+".json")),
			"tokenizer_config.json": []byte(`{"bos_token":"<|im_start|>","eos_token":"<|im_end|>","add_bos_token":true,"add_eos_token":true}`),
		}))
		v, err := ck.Vocabulary()
		if err != nil {
			t.Fatal(err)
		}
		add(v, "cases.json", kind)
	}
	if os.Getenv("PARETOPRESS_SMOLLM2") != "" {
		add(smolLM2Vocabulary(t), "smollm2.json", "smollm2")
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s", out)
}
