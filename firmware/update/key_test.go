package update

import (
	"crypto/ed25519"
	"strings"
	"testing"
)

func TestKeysAreReadAsWritten(t *testing.T) {
	text, err := PrivateText(keyOf(3))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := ParsePrivateKey(text); err != nil || !key.Equal(keyOf(3)) {
		t.Errorf("the private key comes back as another one (%v)", err)
	}
	public := keyOf(3).Public().(ed25519.PublicKey)
	keys, err := ParsePublicKeys("# of the plant\n\n" + PublicText(public) + "\r\n" + PublicText(publicOf(4)[0]))
	if err != nil || len(keys) != 2 || !keys[0].Equal(public) {
		t.Errorf("the list has %d keys, %v", len(keys), err)
	}
}

func TestNoKeys(t *testing.T) {
	line := PublicText(publicOf(1)[0]) + "\n"
	for name, text := range map[string]string{
		"empty": "", "comment": "# none\n", "short": "AAAA\n", "base64": "?\n", "many": strings.Repeat(line, maxKeys+1), "long": strings.Repeat("\n", maxKeysFile+1),
	} {
		if keys, err := ParsePublicKeys(text); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
	}
	// An RSA key's beginning is enough to be none.
	for _, text := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"} {
		if _, err := ParsePrivateKey([]byte(text)); err == nil {
			t.Errorf("%q is taken for a private key", text)
		}
	}
}
