package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// storedAccount is an account at an authority with its key, in one value so that
// one never comes without the other.
type storedAccount struct {
	Account acme.Account `json:"account"`
	Key     string       `json:"key"` // PEM
}

// account loads the account for the e-mail address, or registers it, which accepts
// the authority's terms. Processes that share the storage share the account.
func (i *issuer) account(ctx context.Context, client *acmez.Client, email string) (acme.Account, error) {
	account, err := i.loadAccount(ctx, email)
	if !errors.Is(err, fs.ErrNotExist) {
		return account, err
	}
	lock := "acme_account_" + i.IssuerKey()
	if err := i.manager.storage.Lock(ctx, lock); err != nil {
		return acme.Account{}, err
	}
	defer unlock(i.manager.storage, lock, i.manager.log)
	account, err = i.loadAccount(ctx, email) // another may have been quicker
	if !errors.Is(err, fs.ErrNotExist) {
		return account, err
	}
	return i.register(ctx, client, email)
}

func (i *issuer) register(ctx context.Context, client *acmez.Client, email string) (acme.Account, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	account, err := client.NewAccount(ctx, acme.Account{Contact: []string{"mailto:" + email}, TermsOfServiceAgreed: true, PrivateKey: key})
	if err != nil {
		return acme.Account{}, i.explain("registering an account", err)
	}
	pem, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return acme.Account{}, err
	}
	value, err := json.Marshal(storedAccount{account, string(pem)})
	if err != nil {
		return acme.Account{}, err
	}
	if err := i.manager.storage.Store(ctx, i.accountKey(email), value); err != nil {
		return acme.Account{}, storageProblem(i.manager.directory, err)
	}
	i.manager.log.InfoContext(ctx, "account registered", "authority", i.directory, "email", email)
	return account, nil
}

func (i *issuer) loadAccount(ctx context.Context, email string) (acme.Account, error) {
	value, err := i.manager.storage.Load(ctx, i.accountKey(email))
	if err != nil {
		return acme.Account{}, err
	}
	var stored storedAccount
	var key crypto.Signer
	err = json.Unmarshal(value, &stored)
	if err == nil {
		key, err = certmagic.PEMDecodePrivateKey([]byte(stored.Key))
	}
	if err != nil {
		return acme.Account{}, newFault("delete it; another account is registered then",
			"%s in the storage is damaged", i.accountKey(email)).because(err)
	}
	stored.Account.PrivateKey = key
	return stored.Account, nil
}

// forgetAccount is for accounts that the authority does not know, such as a test
// authority that lost its memory.
func (i *issuer) forgetAccount(ctx context.Context, email string) error {
	return i.manager.storage.Delete(ctx, i.accountKey(email))
}

func (i *issuer) accountKey(email string) string {
	sum := sha256.Sum256([]byte(email))
	return fmt.Sprintf("acme/%s/account-%s.json", i.IssuerKey(), hex.EncodeToString(sum[:8]))
}
