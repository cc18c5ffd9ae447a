package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"kaname.dev/kaname/fault"
)

// Doc is one version of a document.
type Doc[T any] struct {
	Key      string
	Value    T
	Revision uint64 // rises with each change; 0 means not stored
}

// Docs is a bucket of documents of one type.
type Docs[T any] struct {
	p      *Plane
	bucket string
}

// Documents returns the bucket with the name, made at first use. Values are
// stored as JSON; fields unknown to T are lost when T is written back, so types
// only grow. Any non-empty string can be a key.
func Documents[T any](p *Plane, bucket string) Docs[T] { return Docs[T]{p, bucket} }

// Get returns the document, or a NotFound fault. What it returns may be old
// already: decide with Swap or Update.
func (d Docs[T]) Get(ctx context.Context, key string) (Doc[T], error) {
	rec, env, err := d.read(ctx, key)
	if err != nil {
		return Doc[T]{}, err
	}
	if env.Del {
		return Doc[T]{}, d.missing(key)
	}
	return d.decode(rec, env)
}

// Create stores a new document, or returns an Exists fault.
func (d Docs[T]) Create(ctx context.Context, key string, v T) (Doc[T], error) {
	var expect uint64
	for range 8 { // a deleted document leaves a revision behind; others may create and delete it meanwhile
		doc, err := d.write(ctx, Doc[T]{Key: key, Value: v, Revision: expect})
		if !fault.Is(err, fault.KindConflict) {
			return doc, err
		}
		rec, env, err := d.read(ctx, key)
		switch {
		case fault.Is(err, fault.KindNotFound):
			expect = 0
		case err != nil:
			return Doc[T]{}, err
		case !env.Del:
			return Doc[T]{}, fault.Exists(d.name(key) + " exists already")
		default:
			expect = rec.seq
		}
	}
	return Doc[T]{}, fault.Conflict(d.name(key) + " is created and deleted by others all the time")
}

// Swap replaces the document if its revision is still doc.Revision, otherwise
// returns a Conflict fault. It returns the new revision. A Timeout fault means
// that the outcome is unknown. Revision 0 stands for a document that is not stored.
func (d Docs[T]) Swap(ctx context.Context, doc Doc[T]) (Doc[T], error) {
	if doc.Revision == 0 {
		out, err := d.Create(ctx, doc.Key, doc.Value)
		if fault.Is(err, fault.KindExists) {
			err = fault.Conflict(d.name(doc.Key) + " was created by another meanwhile")
		}
		return out, err
	}
	return d.write(ctx, doc)
}

// Update reads, changes and swaps until no one else interfered; a missing
// document is given as the zero T with Revision 0. An error from change ends it.
func (d Docs[T]) Update(ctx context.Context, key string, change func(*T) error) (Doc[T], error) {
	for n := 0; ; n++ {
		doc := Doc[T]{Key: key}
		rec, env, err := d.read(ctx, key)
		switch {
		case fault.Is(err, fault.KindNotFound):
		case err != nil:
			return Doc[T]{}, err
		case env.Del:
			doc.Revision = rec.seq
		default:
			if doc, err = d.decode(rec, env); err != nil {
				return Doc[T]{}, err
			}
		}
		if err := change(&doc.Value); err != nil {
			return Doc[T]{}, err
		}
		out, err := d.write(ctx, doc)
		if !fault.Is(err, fault.KindConflict) {
			return out, err
		}
		if !pause(ctx, min(n/4, 3)) {
			return Doc[T]{}, fault.Timeout(d.name(key) + " is changed by others all the time").Because(ctx.Err())
		}
	}
}

// Delete removes the document if its revision is still doc.Revision.
func (d Docs[T]) Delete(ctx context.Context, doc Doc[T]) error {
	_, err := d.put(ctx, doc.Key, envelope{Del: true}, doc.Revision)
	return err
}

// List returns the documents whose keys begin with prefix, sorted by key.
func (d Docs[T]) List(ctx context.Context, prefix string) ([]Doc[T], error) {
	if err := d.p.needCore("listing documents"); err != nil {
		return nil, err
	}
	s := d.p.store
	found := s.freshest(d.subject(""))
	err := s.scan(ctx, streamDoc, d.subject("")+"*", 1, func(rec record) bool {
		if own, ok := found[rec.subject]; !ok || own.seq < rec.seq {
			found[rec.subject] = rec
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.bucket, err)
	}
	var out []Doc[T]
	for _, rec := range found {
		c, err := d.change(rec)
		if err != nil {
			return nil, err
		}
		if !c.Deleted && strings.HasPrefix(c.Key, prefix) {
			out = append(out, c.Doc)
		}
	}
	slices.SortFunc(out, func(a, b Doc[T]) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// Change is one step of a Watch.
type Change[T any] struct {
	Doc[T]
	Deleted bool
	Ready   bool // all documents present at the start have been given; carries no document
}

// Watch yields the documents whose keys begin with prefix, a Change with Ready,
// and then each change as it happens. It survives reconnections and ends with
// ctx. Of several changes to one key in quick succession it may give only the
// last. An error concerns one document that cannot be read; the watch goes on.
func (d Docs[T]) Watch(ctx context.Context, prefix string) iter.Seq2[Change[T], error] {
	return func(yield func(Change[T], error) bool) {
		if err := d.p.needCore("watching documents"); err != nil {
			yield(Change[T]{}, err)
			return
		}
		ready := false
		d.p.store.follow(ctx, d.p.life, streamDoc, d.subject("")+"*", 1, func(rec record) bool {
			c, err := d.change(rec)
			if err == nil && (!strings.HasPrefix(c.Key, prefix) || c.Deleted && !ready) {
				return true
			}
			return yield(c, err)
		}, func() bool {
			ready = true
			return yield(Change[T]{Ready: true}, nil)
		})
	}
}

func (d Docs[T]) name(key string) string { return d.bucket + " " + key }
func (d Docs[T]) subject(key string) string {
	return subjectDoc + keyToken(d.bucket) + "." + keyToken(key)
}

func (d Docs[T]) missing(key string) error {
	return fault.NotFound(d.name(key) + " does not exist")
}

// read returns the record even of a deleted document.
func (d Docs[T]) read(ctx context.Context, key string) (rec record, env envelope, err error) {
	if err := d.p.needCore("reading documents"); err != nil {
		return rec, env, err
	}
	if rec, err = d.p.store.last(ctx, streamDoc, d.subject(key)); err != nil {
		if fault.Is(err, fault.KindNotFound) {
			err = d.missing(key)
		}
		return rec, env, err
	}
	if err := json.Unmarshal(rec.data, &env); err != nil {
		return rec, env, fault.Corrupt(d.name(key) + " cannot be read").Because(err)
	}
	return rec, env, nil
}

func (d Docs[T]) decode(rec record, env envelope) (Doc[T], error) {
	doc := Doc[T]{Key: keyOfToken(lastToken(rec.subject)), Revision: rec.seq}
	if err := json.Unmarshal(env.V, &doc.Value); err != nil {
		return doc, fault.Corrupt(d.name(doc.Key) + " cannot be read").Because(err).
			Try("was it written by a newer kaname? Then upgrade this core")
	}
	return doc, nil
}

func (d Docs[T]) change(rec record) (Change[T], error) {
	var env envelope
	if err := json.Unmarshal(rec.data, &env); err != nil {
		return Change[T]{Doc: Doc[T]{Key: keyOfToken(lastToken(rec.subject))}}, fault.Corrupt(d.name(lastToken(rec.subject)) + " cannot be read").Because(err)
	}
	if env.Del {
		return Change[T]{Doc: Doc[T]{Key: keyOfToken(lastToken(rec.subject)), Revision: rec.seq}, Deleted: true}, nil
	}
	doc, err := d.decode(rec, env)
	return Change[T]{Doc: doc}, err
}

func (d Docs[T]) write(ctx context.Context, doc Doc[T]) (Doc[T], error) {
	v, err := json.Marshal(doc.Value)
	if err != nil {
		return Doc[T]{}, fault.Invalid(d.name(doc.Key) + " cannot be written as JSON").Because(err)
	}
	if doc.Revision, err = d.put(ctx, doc.Key, envelope{V: v}, doc.Revision); err != nil {
		return Doc[T]{}, err
	}
	return doc, nil
}

func (d Docs[T]) put(ctx context.Context, key string, env envelope, expect uint64) (uint64, error) {
	if err := d.p.needCore("writing documents"); err != nil {
		return 0, err
	}
	if key == "" {
		return 0, fault.Invalid(d.bucket + ": a document needs a key")
	}
	rec, err := d.p.store.append(ctx, streamDoc, d.subject(key), env, &expect)
	if _, wrong := err.(*wrongRevision); wrong { //nolint:errorlint // append returns it bare
		return 0, fault.Conflict(fmt.Sprintf("%s has changed since revision %d", d.name(key), expect)).Try("look at it again and repeat")
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", d.name(key), err)
	}
	return rec.seq, nil
}
