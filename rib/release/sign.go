package release

import (
	"context"
	"fmt"
	"io"

	"kaname.dev/kaname/action"
	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
	"kaname.dev/kaname/rib/release/site"
)

// maxKey bounds key and signature files.
const maxKey = 64 << 10

// key reads the secret key; nil when none was given.
func (n *naming) key() (*manifest.PrivateKey, error) {
	if !n.Sign.Given() {
		return nil, nil //nolint:nilnil // no key
	}
	text, err := io.ReadAll(io.LimitReader(n.Sign.Reader, maxKey))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	k, err := manifest.ParsePrivateKey(text, n.Password.Reveal())
	return &k, err
}

// sign signs a release.
func (r *service) sign(doc *releaseDoc, key manifest.PrivateKey) error {
	m, err := r.store.Manifest(doc.Manifest)
	if err != nil {
		return err
	}
	if doc.Signature, err = m.Sign(key); err != nil {
		return fmt.Errorf("sign %s: %w", doc.String(), err)
	}
	return r.store.PutSignature(doc.Manifest, doc.Signature)
}

// which names a release.
type which struct {
	App     string `name:"app" arg:"" required:"" help:"app" ja:"アプリ名" complete:"apps"`
	Version string `name:"version" arg:"" required:"" help:"release" ja:"リリース" complete:"releases"`
}

// signIn is a signature made elsewhere.
type signIn struct {
	which
	Signature action.File `name:"signature" required:"" help:"minisign signature of the manifest" ja:"マニフェストの minisign 署名" complete:"files"`
}

// addSignature is the action "release sign": the secret key stays with whoever has it.
func (r *service) addSignature(ctx context.Context, run *action.Run, in signIn) (releaseOut, error) {
	if err := r.ready(ctx); err != nil {
		return releaseOut{}, err
	}
	doc, err := r.releases().Get(ctx, releaseKey(in.App, in.Version))
	if err != nil {
		return releaseOut{}, err
	}
	_, m, err := r.hold(ctx, &doc.Value)
	if err != nil {
		return releaseOut{}, err
	}
	text, err := io.ReadAll(io.LimitReader(in.Signature.Reader, maxKey))
	if err != nil {
		return releaseOut{}, fmt.Errorf("read the signature: %w", err)
	}
	keys, err := site.ParseKeys(r.settings().TrustedKeys)
	if err != nil {
		return releaseOut{}, err
	}
	if len(keys) > 0 {
		if _, err := m.Verify(text, keys); err != nil {
			return releaseOut{}, err
		}
	} else {
		run.Note("no trusted keys are configured on this core, so the signature was not verified; hosts that have them do")
	}
	if err := r.store.PutSignature(doc.Value.Manifest, text); err != nil {
		return releaseOut{}, err
	}
	doc, err = r.releases().Update(ctx, doc.Key, func(d *releaseDoc) error {
		if d.App == "" {
			return fault.NotFound("release " + in.App + " " + in.Version + " does not exist any more")
		}
		d.Signature = text
		return nil
	})
	return doc.Value.out(&appDoc{}), err
}

// manifestOut is a release's manifest.
type manifestOut struct {
	ID       string `json:"id"`
	Manifest string `json:"manifest"` // canonical: these very bytes are signed
	Signed   bool   `json:"signed"`
}

// String returns the manifest itself.
func (m manifestOut) String() string { return m.Manifest }

// manifest is the action "release manifest".
func (r *service) manifest(ctx context.Context, _ *action.Run, in which) (manifestOut, error) {
	if err := r.ready(ctx); err != nil {
		return manifestOut{}, err
	}
	doc, err := r.releases().Get(ctx, releaseKey(in.App, in.Version))
	if err != nil {
		return manifestOut{}, err
	}
	_, m, err := r.hold(ctx, &doc.Value)
	if err != nil {
		return manifestOut{}, err
	}
	return manifestOut{ID: doc.Value.Manifest.String(), Manifest: string(m.Bytes()), Signed: len(doc.Value.Signature) > 0}, nil
}
