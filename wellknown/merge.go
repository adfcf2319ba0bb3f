package wellknown

import (
	"encoding/json"
	"fmt"
	"maps"
)

// merge applies a JSON merge patch (RFC 7396) and leaves both arguments alone:
// objects recursively, null removes, anything else replaces.
func merge(target, patch object) object {
	merged := maps.Clone(target)
	if merged == nil {
		merged = object{}
	}
	for key, value := range patch {
		nested, isObject := value.(object)
		switch {
		case value == nil:
			delete(merged, key)
		case isObject:
			old, _ := merged[key].(object)
			merged[key] = merge(old, nested)
		default:
			merged[key] = value
		}
	}
	return merged
}

// plain turns what YAML gives into what JSON has, or says which key holds
// something else: a date that was meant as text, say, or a number that is none.
func plain(path string, value any) (any, error) {
	switch value := value.(type) {
	case nil, bool, string:
		return value, nil
	case int, int64, uint64, float64:
		if _, err := json.Marshal(value); err != nil {
			return nil, fmt.Errorf("%s: %v is not a number JSON can hold", path, value)
		}
		return value, nil
	case object:
		return plainObject(path, value)
	case map[any]any:
		named := object{}
		for key, nested := range value {
			named[fmt.Sprint(key)] = nested
		}
		return plainObject(path, named)
	case []any:
		return plainList(path, value)
	default:
		return nil, fmt.Errorf("%s: %v is not something JSON can hold (hint: put it in quotes)", path, value)
	}
}

func plainObject(path string, value object) (any, error) {
	result := make(object, len(value))
	for key, nested := range value {
		converted, err := plain(path+"."+key, nested)
		if err != nil {
			return nil, err
		}
		result[key] = converted
	}
	return result, nil
}

func plainList(path string, value []any) (any, error) {
	result := make([]any, len(value))
	for i, nested := range value {
		converted, err := plain(fmt.Sprintf("%s[%d]", path, i), nested)
		if err != nil {
			return nil, err
		}
		result[i] = converted
	}
	return result, nil
}
