package update

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Bounds of a box's list of keys.
const (
	maxKeys     = 16
	maxKeysFile = 16 << 10
)

// PublicText is a public key as a box's list has it.
func PublicText(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// ParsePublicKeys reads a list: a key a line; a line that begins with # says something to
// people.
func ParsePublicKeys(text string) (keys []ed25519.PublicKey, err error) {
	if len(text) > maxKeysFile {
		return nil, fmt.Errorf("the list of keys has %d bytes; allowed are %d", len(text), maxKeysFile)
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("line %d is no public key; wanted is what headwater firmware keygen printed", number)
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("there are more than %d keys", maxKeys)
		}
		keys = append(keys, raw)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it")
	}
	return keys, nil
}

// pemType is PKCS #8's, which other tools read too.
const pemType = "PRIVATE KEY"

// PrivateText is a private key as PEM.
func PrivateText(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// ParsePrivateKey reads what PrivateText wrote, or openssl genpkey -algorithm ed25519.
func ParsePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, errors.New("this is no private key; wanted is what headwater firmware keygen wrote")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("this private key cannot be read: %w", err)
	}
	signer, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("this private key is not of ed25519; allowed is such a one alone")
	}
	return signer, nil
}
