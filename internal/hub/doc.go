// Package hub brings models of the Hugging Face hub into the cache that its Python client keeps.
//
//	ref, err := hub.Parse("hf:HuggingFaceTB/SmolLM2-135M-Instruct@main")
//	m, err := hub.New(os.Getenv).Fetch(ctx, ref, nil)
//	ck, err := engine.Open(m.Path)             // m.Ref names the same for good: its revision is a commit
//
// # Environment
//
// HF_ENDPOINT is the hub [https://huggingface.co]. HF_TOKEN is the token that requests to it, and to no other host, carry;
// without it the file HF_TOKEN_PATH [HF_HOME/token] is read. HF_HUB_CACHE is the cache [HF_HOME/hub], and HF_HOME by
// default huggingface below XDG_CACHE_HOME [~/.cache]. With HF_HUB_OFFLINE no request is sent. Proxies are those of the
// process's environment.
//
// # The cache
//
// It has the layout of huggingface_hub, so that each finds what the other fetched:
//
//	models--owner--name/blobs/<etag>                  content; <etag>.incomplete while it is fetched
//	models--owner--name/snapshots/<commit>/<file>     a relative symbolic link to it; a hard link or a copy elsewhere
//	models--owner--name/refs/<revision>               the commit that a branch or tag was last seen at
//	models--owner--name/.no_exist/<commit>/<file>     empty: the commit has no such file
//	.locks/models--owner--name/<etag>.lock            held while the content is fetched
//
// A commit that the cache has whole is taken from there without a request. Of a branch or tag the hub is asked for the
// commit; if it does not answer, the commit that it was last seen at is taken, and [Model.Unreached] says why.
//
// # What is fetched
//
// Of a repository what a model needs: config.json, the tokenizer and its templates, and the weights as safetensors (those
// that the index names, where there is one); of a reference with a file that file. Content is named by its SHA-256 or git's
// hash of it and must have that hash; where a mirror names it otherwise only its length is checked. A partial file goes on
// where it ended, also in another process.
//
// Format of requests and headers: https://huggingface.co/docs/huggingface_hub/guides/manage-cache and the client's source.
package hub
