package dynamodb

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/pkg/rotate"
	"github.com/keyrot/keyrot/pkg/store/content"
)

// Setting implements [rotate.Settings].
func (s *Store) Setting(ctx context.Context, name string) ([]byte, int64, error) {
	doing := fmt.Sprintf("reading setting %q", name)
	it, err := s.get(ctx, kindSetting, name)
	if err == nil && it == nil {
		err = rotate.ErrNotFound
	}
	if err != nil {
		return nil, 0, explain(doing, s.Table, err)
	}
	value, err := content.OpenSetting(ctx, s.Sealer, name, it.bytes(attrSealed))
	if err != nil {
		return nil, 0, explain(doing, s.Table, err)
	}
	return value, it.number(attrVersion), nil
}

// SaveSetting implements [rotate.Settings].
func (s *Store) SaveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	v, err := s.saveSetting(ctx, name, value, version)
	if err != nil {
		return 0, explain(fmt.Sprintf("saving setting %q", name), s.Table, err)
	}
	return v, nil
}

func (s *Store) saveSetting(ctx context.Context, name string, value []byte, version int64) (int64, error) {
	if value == nil {
		return 0, s.erase(ctx, kindSetting, name, version)
	}
	sealed, err := content.SealSetting(ctx, s.Sealer, name, value)
	if err != nil {
		return 0, err
	}
	it := key(kindSetting, name)
	it[attrSealed] = blob(sealed)
	return s.write(ctx, it, version)
}

// SettingNames implements [rotate.Settings]. It does not need the key.
func (s *Store) SettingNames(ctx context.Context, prefix string) ([]string, error) {
	var out []string
	in := ofKind(kindSetting, attrPK, attrSK)
	if prefix != "" {
		in.KeyConditionExpression = aws.String("#pk = :kind AND begins_with(#sk, :prefix)")
		in.ExpressionAttributeValues[":prefix"] = text(prefix)
	}
	err := s.query(ctx, in, func(it item) (bool, error) {
		out = append(out, it.text(attrSK))
		return true, nil
	})
	if err != nil {
		return nil, explain("listing settings", s.Table, err)
	}
	return out, nil
}
