package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/headwater/headwater/firmware/uefi/uefitest"
)

// keyOf makes the same key of the same seed.
func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func publicOf(seed byte) []ed25519.PublicKey {
	return []ed25519.PublicKey{keyOf(seed).Public().(ed25519.PublicKey)}
}

// made keeps what content and pack have made; nobody changes it.
var made sync.Map

func once(key string, make func() []byte) []byte {
	if data, ok := made.Load(key); ok {
		return data.([]byte)
	}
	data := make()
	made.Store(key, data)
	return data
}

// content is what a version has as its kernel or root: half of it can be compressed.
func content(version, part string, size int) []byte {
	return once(fmt.Sprint(version, part, size), func() []byte { return newContent(version, part, size) })
}

func newContent(version, part string, size int) []byte {
	seed := uint64(0)
	for _, c := range version + part {
		seed = seed*31 + uint64(c)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, size)
	for i := range size / 2 {
		data[i] = byte(rng.Uint32())
	}
	if part == "kernel" {
		return uefitest.Program(data[:size-len(uefitest.Program(nil))])
	}
	return data
}

const (
	kernelSize = 700 << 10
	rootSize   = 300 << 10
	target     = "headwater-arm64-efi"
)

// pack returns a bundle of its caller's own.
func pack(t testing.TB, key ed25519.PrivateKey, version, compatible string) []byte {
	t.Helper()
	return bytes.Clone(once(fmt.Sprintf("%x %s %s", key, version, compatible), func() []byte { return newBundle(t, key, version, compatible) }))
}

func newBundle(t testing.TB, key ed25519.PrivateKey, version, compatible string) []byte {
	t.Helper()
	scratch, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	var out bytes.Buffer
	_, err = Pack(t.Context(), &out, scratch, key, Contents{
		Version: version, Compatible: compatible, Created: time.Unix(1_800_000_000, 0),
		Kernel: bytes.NewReader(content(version, "kernel", kernelSize)), Root: bytes.NewReader(content(version, "root", rootSize)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// packAny is pack of a kernel that Pack may not take.
func packAny(t *testing.T, kernel []byte) []byte {
	t.Helper()
	m := Manifest{Version: "1.4.0", Compatible: target, Created: time.Unix(1_800_000_000, 0).UTC()}
	var payloads bytes.Buffer
	var err error
	if m.Kernel, err = packInto(t.Context(), &payloads, bytes.NewReader(kernel)); err != nil {
		t.Fatal(err)
	}
	if m.Root, err = packInto(t.Context(), &payloads, bytes.NewReader(content("1.4.0", "root", rootSize))); err != nil {
		t.Fatal(err)
	}
	head, err := sign(m, keyOf(1))
	if err != nil {
		t.Fatal(err)
	}
	return append(head, payloads.Bytes()...)
}

// A kernel that UEFI would not start goes into no bundle.
func TestPackRefusesKernel(t *testing.T) {
	whole := content("1.4.0", "kernel", kernelSize)
	for name, kernel := range map[string][]byte{"text": []byte("kernel"), "cut": whole[:kernelSize-1], "none": nil} {
		scratch, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
		if err != nil {
			t.Fatal(err)
		}
		defer scratch.Close()
		var out bytes.Buffer
		_, err = Pack(t.Context(), &out, scratch, keyOf(1), Contents{
			Version: "1.4.0", Compatible: target, Kernel: bytes.NewReader(kernel), Root: bytes.NewReader(content("1.4.0", "root", rootSize)),
		})
		if !errors.Is(err, ErrKernel) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, out.Len())
		}
	}
}

// headOf is how many bytes of a bundle stand before its payloads.
func headOf(bundle []byte) int {
	return headerLen + int(binary.BigEndian.Uint32(bundle[atManifestLength:])) + ed25519.SignatureSize
}

// take reads all of a bundle.
func take(ctx context.Context, r io.Reader, size int64, keys []ed25519.PublicKey) (kernel, root []byte, err error) {
	b, err := Open(r, size, keys)
	if err != nil {
		return nil, nil, err
	}
	var k, o bytes.Buffer
	if err := b.unpack(ctx, b.Manifest.Kernel, &k); err != nil {
		return nil, nil, err
	}
	return k.Bytes(), o.Bytes(), errors.Join(b.unpack(ctx, b.Manifest.Root, &o))
}

// What was packed comes out, and twice the same makes the same file.
func TestBundle(t *testing.T) {
	data := pack(t, keyOf(1), "1.4.0", target)
	if !bytes.Equal(data, newBundle(t, keyOf(1), "1.4.0", target)) {
		t.Error("the same contents made another bundle")
	}
	b, err := Open(bytes.NewReader(data), int64(len(data)), append(publicOf(2), publicOf(1)...))
	if err != nil {
		t.Fatal(err)
	}
	if m := b.Manifest; m.Version != "1.4.0" || m.Compatible != target || m.Kernel.Bytes != kernelSize || m.Root.Bytes != rootSize || !m.Created.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("the manifest says %+v", m)
	}
	for part, p := range map[string]Payload{"kernel": b.Manifest.Kernel} {
		var out bytes.Buffer
		if err := b.unpack(t.Context(), p, &out); err != nil || !bytes.Equal(out.Bytes(), content("1.4.0", part, kernelSize)) {
			t.Errorf("%s: %d bytes, %v", part, out.Len(), err)
		}
	}
	var root bytes.Buffer
	if err := b.unpack(t.Context(), b.Manifest.Root, &root); err != nil || !bytes.Equal(root.Bytes(), content("1.4.0", "root", rootSize)) {
		t.Errorf("root: %d bytes, %v", root.Len(), err)
	}
}

// A key that did not sign it is none, and neither is no key.
func TestBundleKey(t *testing.T) {
	data := pack(t, keyOf(1), "1.4.0", target)
	for name, keys := range map[string][]ed25519.PublicKey{"other": publicOf(2), "none": nil} {
		if _, err := Open(bytes.NewReader(data), int64(len(data)), keys); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Inspect(bytes.NewReader(data), int64(len(data))); err != nil {
		t.Error(err)
	}
}

// Wherever a bit of the head is flipped, the bundle is refused; and wherever one of a
// payload is, what comes out is not believed.
func TestBundleDamaged(t *testing.T) {
	data, keys := pack(t, keyOf(1), "1.4.0", target), publicOf(1)
	head := headOf(data)
	rng := rand.New(rand.NewPCG(1, 2))
	try := func(at int, bit byte) {
		bad := bytes.Clone(data)
		bad[at] ^= bit
		_, _, err := take(t.Context(), bytes.NewReader(bad), int64(len(bad)), keys)
		if err == nil || at >= head && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTruncated) {
			t.Errorf("byte %d of %d (head %d): %v", at, len(data), head, err)
		}
		b, err := Inspect(bytes.NewReader(bad), int64(len(bad)))
		if err == nil && b.Check(t.Context()) == nil && at >= head {
			t.Errorf("byte %d of %d (head %d): found whole", at, len(data), head)
		}
	}
	for at := range head {
		try(at, 1<<rng.IntN(8))
	}
	for range 40 {
		try(head+rng.IntN(len(data)-head), 1<<rng.IntN(8))
	}
}

// Wherever it ends too early it is refused at its head when its size is known, and while
// it is read when it is not.
func TestBundleTruncated(t *testing.T) {
	data, keys := pack(t, keyOf(1), "1.4.0", target), publicOf(1)
	head := headOf(data)
	cuts := []int{head, head + 1, len(data) - 1, len(data) / 2}
	for cut := range head {
		cuts = append(cuts, cut)
	}
	for _, cut := range cuts {
		_, err := Open(bytes.NewReader(data[:cut]), int64(cut), keys)
		if !errors.Is(err, ErrTruncated) && (cut >= headerLen || !errors.Is(err, ErrNotBundle)) {
			t.Errorf("size known, %d of %d bytes: %v", cut, len(data), err)
		}
		_, _, err = take(t.Context(), bytes.NewReader(data[:cut]), int64(len(data)), keys)
		if !errors.Is(err, ErrTruncated) && (cut >= headerLen || !errors.Is(err, ErrNotBundle)) {
			t.Errorf("size said, %d of %d bytes: %v", cut, len(data), err)
		}
	}
	if _, err := Open(bytes.NewReader(data), int64(len(data))+1, keys); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
}

// What a signed manifest says is held against limits all the same.
func TestManifestLimits(t *testing.T) {
	data := pack(t, keyOf(1), "1.4.0", target)
	b, err := Inspect(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Manifest){
		"version":    func(m *Manifest) { m.Version = "latest" },
		"compatible": func(m *Manifest) { m.Compatible = "x\ny" },
		"large":      func(m *Manifest) { m.Root.Bytes = 1 << 40 },
		"negative":   func(m *Manifest) { m.Kernel.PackedBytes = -1 },
		"empty":      func(m *Manifest) { m.Kernel.Bytes = 0 },
		"sum":        func(m *Manifest) { m.Root.SHA256 = "00" },
	} {
		m := b.Manifest
		spoil(&m)
		head, err := sign(m, keyOf(1))
		if err != nil {
			t.Fatal(err)
		}
		bad := append(head, data[headOf(data):]...)
		if _, err := Open(bytes.NewReader(bad), int64(len(bad)), publicOf(1)); !errors.Is(err, ErrNotBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// However much a payload unpacks to, no more is written than its manifest says.
func TestUnpackNoMoreThanSaid(t *testing.T) {
	data := pack(t, keyOf(1), "1.4.0", target)
	b, err := Inspect(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	p := b.Manifest.Kernel
	p.Bytes = 1000
	var out bytes.Buffer
	if err := b.unpack(t.Context(), p, &out); !errors.Is(err, ErrDamaged) || out.Len() > 1000 {
		t.Errorf("%d bytes written, %v", out.Len(), err)
	}
}

// A bundle of any bytes makes no panic, and what is taken has been signed.
func FuzzOpen(f *testing.F) {
	data := pack(f, keyOf(1), "1.4.0", target)
	f.Add(data[:headOf(data)+100])
	f.Add(data[:headerLen])
	f.Add([]byte(magic))
	keys := publicOf(1)
	signed := data[:headOf(data)]
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Open(bytes.NewReader(data), int64(len(data)), keys); err == nil && !bytes.HasPrefix(data, signed) {
			t.Error("taken, and not signed")
		}
		b, err := Inspect(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if b.Manifest.validate() != nil {
			t.Errorf("a manifest outside its limits: %+v", b.Manifest)
		}
		b.unpack(t.Context(), b.Manifest.Kernel, io.Discard)
	})
}

// Whatever a manifest's text is, what is taken of it is within limits.
func FuzzManifest(f *testing.F) {
	data := pack(f, keyOf(1), "1.4.0", target)
	f.Add(data[headerLen : headOf(data)-ed25519.SignatureSize])
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := parseManifest(text); err == nil && m.validate() != nil {
			t.Errorf("a manifest outside its limits: %+v", m)
		}
	})
}
