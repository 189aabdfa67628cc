package export

// ggufTokenizer writes the tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json, and its
// special tokens into the config.json.
func (e *hfExport) ggufTokenizer(config *object, files map[string][]byte) error {
	v, err := e.ck.Vocabulary()
	if err != nil {
		return err
	}
	if files["tokenizer.json"], err = v.TokenizerJSON(); err != nil {
		return err
	}
	if files["tokenizer_config.json"], err = v.TokenizerConfigJSON(); err != nil {
		return err
	}
	for _, token := range []struct {
		key string
		id  int
	}{{"bos_token_id", v.BOS}, {"eos_token_id", v.EOS}, {"pad_token_id", v.Pad}} {
		config.set(token.key, nil)
		if token.id >= 0 {
			config.set(token.key, token.id)
		}
	}
	return nil
}
