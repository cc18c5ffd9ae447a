package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/release/manifest"
)

// smallFile is the size up to which contents are handed to a worker in memory; it
// is also the size of every buffer. Memory is bounded by about twice the workers
// times this.
const smallFile = 512 << 10

// batch is how many entries without contents a worker makes at a time.
const batch = 32

// builder makes one tree: all directories, then files and symbolic links by
// several workers, then hard links, then the directories' attributes from the
// deepest up, then syncfs.
type builder struct {
	o       Options
	m       *manifest.Manifest
	split   *Split
	plan    *plan
	root    *os.Root
	dirs    *dirs
	attrs   *attrs
	buffers sync.Pool // of *[]byte with smallFile bytes
	clone   cloner

	progress func(files int, bytes int64)
	mu       sync.Mutex // guards the fields below and calls of progress
	files    int
	bytes    int64
}

func newBuilder(o Options, dst *os.Root, m *manifest.Manifest, split *Split, progress func(files int, bytes int64)) *builder {
	return &builder{
		o: o, m: m, split: split, plan: newPlan(m, split), root: dst, dirs: newDirs(dst), attrs: newAttrs(o),
		buffers:  sync.Pool{New: func() any { b := make([]byte, smallFile); return &b }},
		progress: progress,
	}
}

func (b *builder) build(ctx context.Context, contents Contents) error {
	if err := b.makeDirs(ctx); err != nil {
		return err
	}
	if err := b.makeFiles(ctx, contents); err != nil {
		return err
	}
	for _, i := range b.plan.aliases {
		if err := b.alias(&b.m.Entries[i]); err != nil {
			return err
		}
		b.made(0)
	}
	if err := b.finishDirs(ctx); err != nil {
		return err
	}
	return b.sync()
}

// makeDirs makes every directory, closed to others until it is complete.
func (b *builder) makeDirs(ctx context.Context) error {
	for _, p := range b.plan.dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := b.dirs.with(p, func(dirfd int, name string) error {
			return again(func() error { return unix.Mkdirat(dirfd, name, 0o700) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeFiles makes all files and symbolic links.
func (b *builder) makeFiles(ctx context.Context, contents Contents) error {
	g, ctx := errgroup.WithContext(ctx)
	jobs := make(chan func() error, b.o.Workers)
	send := func(job func() error) error {
		select {
		case jobs <- job:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var feeders sync.WaitGroup
	feed := func(f func() error) {
		feeders.Add(1)
		g.Go(func() error {
			defer feeders.Done()
			return f()
		})
	}
	feed(func() error { return b.feedLocal(send) })
	feed(func() error { return b.feedContents(ctx, contents, send) })
	g.Go(func() error {
		feeders.Wait()
		close(jobs)
		return nil
	})
	for range b.o.Workers {
		g.Go(func() error {
			for job := range jobs {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := job(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// feedLocal hands out what needs no contents from elsewhere.
func (b *builder) feedLocal(send func(func() error) error) error {
	for _, kind := range []struct {
		entries []int
		make    func(e *manifest.Entry) error
	}{
		{b.plan.reused, b.reuse},
		{b.plan.empty, func(e *manifest.Entry) error { return b.create(e, nil) }},
		{b.plan.links, b.symlink},
	} {
		for some := range slices.Chunk(kind.entries, batch) {
			err := send(func() error {
				for _, i := range some {
					e := &b.m.Entries[i]
					if err := kind.make(e); err != nil {
						return err
					}
					b.made(e.Size)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// feedContents takes contents as they arrive: small ones go to a worker, large
// ones are written here while the workers go on.
func (b *builder) feedContents(ctx context.Context, contents Contents, send func(func() error) error) error {
	waiting := len(b.plan.wanted)
	arrived := make(map[manifest.Digest]bool, waiting)
	for len(arrived) < waiting {
		if contents == nil {
			break
		}
		d, r, err := contents.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		entries := b.plan.wanted[d]
		if len(entries) == 0 || arrived[d] {
			return fault.Corrupt(fmt.Sprintf("contents %s arrived that nothing in the release waits for", d.Short()))
		}
		arrived[d] = true
		if b.m.Entries[entries[0]].Size > smallFile {
			err = b.large(entries, r)
		} else {
			err = b.small(d, entries, r, send)
		}
		if err != nil {
			return err
		}
	}
	if lack := waiting - len(arrived); lack > 0 {
		return fault.Corrupt(fmt.Sprintf("the contents of %d files did not arrive", lack))
	}
	return nil
}

func (b *builder) small(d manifest.Digest, entries []int, r io.Reader, send func(func() error) error) error {
	e := &b.m.Entries[entries[0]]
	buf := b.buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	data := (*buf)[:e.Size]
	n, err := io.ReadFull(r, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return checkDigest(e, int64(n), d)
	}
	if err != nil {
		return fmt.Errorf("contents of %q: %w", e.Path, err)
	}
	return send(func() error {
		defer b.buffers.Put(buf)
		if err := checkDigest(e, e.Size, manifest.Sum(data)); err != nil {
			return err
		}
		for _, i := range entries {
			if err := b.whole(&b.m.Entries[i], data); err != nil {
				return err
			}
			b.made(e.Size)
		}
		return nil
	})
}

func (b *builder) large(entries []int, r io.Reader) error {
	first := &b.m.Entries[entries[0]]
	if err := b.stream(first, r); err != nil {
		return err
	}
	b.made(first.Size)
	for _, i := range entries[1:] {
		if err := b.duplicate(first, &b.m.Entries[i]); err != nil {
			return err
		}
		b.made(first.Size)
	}
	return nil
}

func (b *builder) symlink(e *manifest.Entry) error {
	return b.dirs.with(e.Path, func(dirfd int, name string) error {
		if err := again(func() error { return unix.Symlinkat(e.Link, dirfd, name) }); err != nil {
			return err
		}
		if b.attrs.root {
			uid, gid := b.attrs.owner(e)
			if err := again(func() error { return unix.Fchownat(dirfd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
				return err
			}
		}
		return stamp(dirfd, name, e)
	})
}

// alias makes a hard link to a file of the same tree.
func (b *builder) alias(e *manifest.Entry) error {
	return b.dirs.with(e.Path, func(dirfd int, name string) error {
		return b.dirs.with(e.Link, func(fromfd int, from string) error {
			return again(func() error { return unix.Linkat(fromfd, from, dirfd, name, 0) })
		})
	})
}

// finishDirs gives directories their attributes, the deepest first, because
// making something in a directory changes its time and may need its mode.
func (b *builder) finishDirs(ctx context.Context) error {
	for _, p := range slices.Backward(b.plan.dirs) {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &manifest.Entry{Path: p, Type: manifest.Dir, Mode: 0o755, UID: b.attrs.uid, GID: b.attrs.gid}
		i, explicit := b.plan.at[p]
		if explicit {
			e = &b.m.Entries[i]
		}
		if err := b.finishDir(e, explicit); err != nil {
			return err
		}
		if explicit {
			b.made(0)
		}
	}
	if b.m.Root == nil {
		return nil
	}
	return b.finishDir(b.m.Root, true)
}

func (b *builder) finishDir(e *manifest.Entry, explicit bool) error {
	h, err := b.dirs.use(e.Path)
	if err != nil {
		return err
	}
	defer b.dirs.done(h)
	if err := b.attrs.finish(h.fd, e); err != nil {
		return &os.PathError{Op: "unpack", Path: path.Join(b.root.Name(), e.Path), Err: err}
	}
	if !explicit {
		return nil
	}
	return stamp(h.fd, ".", e)
}

// sync makes the whole tree durable before anybody names it.
func (b *builder) sync() error {
	h, err := b.dirs.use(".")
	if err != nil {
		return err
	}
	defer b.dirs.done(h)
	if err := again(func() error { return unix.Syncfs(h.fd) }); err != nil {
		return &os.PathError{Op: "syncfs", Path: b.root.Name(), Err: err}
	}
	return nil
}

func (b *builder) made(size int64) {
	if b.progress == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files++
	b.bytes += size
	b.progress(b.files, b.bytes)
}
