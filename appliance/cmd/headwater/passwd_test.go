package main

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// What passwd prints stands for the password in the settings.
func TestPasswd(t *testing.T) {
	stdout, stderr, code := callWith(t, "secret\nmore\n", nil, "passwd")
	hash := strings.TrimSuffix(stdout, "\n")
	if code != 0 || stderr != "" || bcrypt.CompareHashAndPassword([]byte(hash), []byte("secret")) != nil {
		t.Errorf("exit code %d, stderr %q, stdout %q", code, stderr, stdout)
	}
	users := `HEADWATER_USERS=[{name: a, password: "` + hash + `", publish: [a]}]`
	if stdout, stderr, code := call(t, []string{users}, "check-config"); code != 0 || !strings.Contains(stdout, hash) {
		t.Errorf("check-config: exit code %d, stderr %q, stdout %q", code, stderr, stdout)
	}
	for stdin, want := range map[string]string{
		"":                       "the password is empty\n",
		strings.Repeat("x", 100): "the password has 100 bytes, at most 72 are allowed\n",
	} {
		if stdout, stderr, code := callWith(t, stdin, nil, "passwd"); code != 2 || stderr != want || stdout != "" {
			t.Errorf("exit code %d, stderr %q, stdout %q; want 2, %q, nothing", code, stderr, stdout, want)
		}
	}
}
