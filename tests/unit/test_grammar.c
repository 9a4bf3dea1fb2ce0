/* GBNF and JSON schemas: which texts their grammars have, what is refused and by which name, masks
 * against trying every token, and running out of memory anywhere. */
#include "base/mem.h"
#include "grammar/grammar.h"
#include "support/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_whole(hn_matcher *m, const char *text, size_t n) {
    bool accepted;
    ASSERT_OK(hn_matcher_restart(m, errp));
    ASSERT_OK(hn_matcher_feed(m, text, n, &accepted, errp));
    return accepted && hn_matcher_may_end(m);
}

enum { MOST = 12 };
typedef struct texts_case {
    const char *source;
    const char *yes[MOST], *no[MOST]; /* whole texts; NULL ends */
} texts_case;

static void check_texts(const texts_case *c, hn_grammar *g) {
    hn_matcher *m;
    ASSERT_OK(hn_matcher_new(&m, g, NULL, errp));
    for (int i = 0; i < MOST && c->yes[i]; i++)
        if (!is_whole(m, c->yes[i], strlen(c->yes[i])))
            fail_msg("%s\ndoesn't have: %s", c->source, c->yes[i]);
    for (int i = 0; i < MOST && c->no[i]; i++)
        if (is_whole(m, c->no[i], strlen(c->no[i])))
            fail_msg("%s\nhas: %s", c->source, c->no[i]);
    hn_matcher_free(m);
    hn_grammar_free(g);
}

static void gbnf_texts(void **state) {
    (void)state;
    static const texts_case CASES[] = {
        {"root ::= \"ab\"", {"ab"}, {"", "a", "abc", "b"}},
        {"root ::= \"\"", {""}, {"a"}},
        {"root ::= \"a\" | \"bc\" |", {"a", "bc", ""}, {"abc", "b"}},
        {"root ::= [a-cx] [^a-c\\n]", {"ad", "xx", "c\xC3\xA9", "bz"}, {"aa", "dd", "a\n", "a"}},
        {"root ::= [\\]\\-a]+ [-]", {"]-", "a-", "--", "]a--"}, {"-", "b-"}},
        {"root ::= [\xC3\xA0-\xC3\xBC]", {"\xC3\xA9"}, {"\xC3\xBF", "e", "\xC3"}},
        {"root ::= .",
         {"x", "\n", "\xE2\x82\xAC", "\xF0\x9F\x99\x82"},
         {"", "xx", "\xED\xA0\x80", "\xFF"}},
        {"root ::= \"a\"? \"b\"* \"c\"+", {"c", "abbcc", "bc", "ac"}, {"a", "ab", "aac"}},
        {"root ::= \"a\"{2,3} [0-9]{2} \"z\"{1,}",
         {"aa12z", "aaa99zz"},
         {"a12z", "aaaa12z", "aa1z", "aa12"}},
        {"root ::= (\"a\" | \"b\" \"c\"){0,2} \"!\"", {"!", "a!", "bca!", "bcbc!"}, {"b!", "aaa!"}},
        {"root ::= x \"-\" x # comment \" ::= \n\n# more\nx ::= [0-9]+ |\n  \"n\"\n",
         {"1-2", "n-12", "n-n"},
         {"-", "1-", "n"}},
        {"root ::= (\n \"a\"\n |\n \"b\" # here\n )\r\n", {"a", "b"}, {"ab"}},
        {"root ::= \"\\x41\\u00e9\\U0001F642\\t\\\"\\\\\"",
         {"A\xC3\xA9\xF0\x9F\x99\x82\t\"\\"},
         {"A"}},
        {"root ::= \"(\" root \")\" | \"x\"", {"x", "(x)", "((x))"}, {"(x", "()", "x)"}},
        {"root ::= \"a\" root | \"b\"", {"b", "aab"}, {"a", "ba"}},
        {"root ::= e\ne ::= t (\"+\" t)*\nt ::= [0-9] | \"(\" e \")\"",
         {"1", "1+2", "(1+2)+3"},
         {"1+", "+1", "(1"}},
        {"root ::= a{3} \"x\" \na ::= \"ab\" | \"a\"",
         {"aaax", "abaabx", "abababx"},
         {"aax", "aaaax", "bbbx"}},
        {"root ::= (\"a\"*)* \"b\"", {"b", "aab"}, {"a"}},
        {"root ::= \"x\"{500,1000}", {NULL}, {"", "x", "xxxxxxxxxxxxxxxx"}},
        {"root ::= \"a\"{0}", {""}, {"a"}},
        {"root ::= (\"a\"){2,}", {"aa", "aaaaa"}, {"a", ""}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_grammar *g;
        hn_error err;
        if (hn_grammar_from_gbnf(&g, CASES[i].source, strlen(CASES[i].source), "g", &err) != HN_OK)
            fail_msg("%s\n%s", CASES[i].source, err.message);
        check_texts(&CASES[i], g);
    }
}

typedef struct refusal {
    const char *source, *says;
} refusal;

static void gbnf_refusals(void **state) {
    (void)state;
    static const refusal CASES[] = {
        {"", "no rule 'root'"},
        {"a ::= \"b\"", "no rule 'root'"},
        {"root ::= b", "g:1: there is no rule 'b'"},
        {"root ::= \"a\"\nroot ::= \"b\"", "g:2: 'root' is defined twice"},
        {"root ::= \"a", "g:1: a literal isn't closed"},
        {"root ::= [a", "a class isn't closed"},
        {"root ::= (\"a\"", "a bracket isn't closed"},
        {"root ::= \"a\")", "begins no part of a rule"},
        {"root = \"a\"", "wanted ::="},
        {"root ::= \"a\"{3,2}", "{m,n}"},
        {"root ::= \"a\"{x}", "{m,n}"},
        {"root ::= \"a\"{0,1000000000}", "g:1: a repetition counts to 1000000 at most"},
        {"root ::= \"a\"{99999999999999999999}", "counts to"},
        {"root ::= [z-a]", "goes backwards"},
        {"root ::= \"\\q\"", "unknown escape"},
        {"root ::= \"\\uD800\"", "no character"},
        {"root ::= \"\\x4\"", "hexadecimal"},
        {"root ::= \"\xFF\"", "no UTF-8"},
        {"root ::= root \"a\" | \"b\"", "'root' begins with itself (left recursion)"},
        {"root ::= a\na ::= b? c\nb ::= \"b\"\nc ::= a \"x\" | \"y\"", "left recursion"},
        {"root ::= root", "asks for itself without end"},
        {"root ::= \"a\" root", "asks for itself without end"},
        {"root ::= (\"a\"?){2,3}", "may be empty"},
        {"root ::= \"a\"**", "one repetition after another"},
        {"root ::= <think>", "tokens (<...>)"},
        {"root ::= *", "begins no part"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_grammar *g = NULL;
        hn_error err = {0};
        hn_status status =
            hn_grammar_from_gbnf(&g, CASES[i].source, strlen(CASES[i].source), "g", &err);
        if (status == HN_OK || !strstr(err.message, CASES[i].says))
            fail_msg("%s\n%s", CASES[i].source, status ? err.message : "was accepted");
        assert_null(g);
    }
}

static void schema_texts(void **state) {
    (void)state;
    static const texts_case CASES[] = {
        {"true",
         {"1", "-0.5e+3", "null", "\"x\"", "[1, [2]]", "{\"a\": {}}"},
         {"", "01", "1.", "[1,]", "x", "+1"}},
        {"{}", {"{}", "[]", "\"\\u00e9\\n\""}, {"\"\n\"", "\"\\ud800\"", "\"\\x\""}},
        {"{\"type\":\"null\"}", {"null"}, {"nul", "0"}},
        {"{\"type\":[\"boolean\",\"null\"]}", {"true", "false", "null"}, {"0", "\"true\""}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"\xC3\xA9\\n\\u00e9\"", "\"abc\""},
         {"\"a\"", "\"abcd\"", "\"ab", "ab"}},
        {"{\"type\":\"string\",\"maxLength\":0}", {"\"\""}, {"\"a\""}},
        {"{\"type\":\"string\",\"minLength\":3}", {"\"abc\"", "\"abcdefgh\""}, {"\"ab\""}},
        {"{\"type\":\"string\",\"maxLength\":1000000000}", {"\"\"", "\"abc\""}, {"\""}},
        {"{\"type\":\"string\",\"pattern\":\"^[a-c]{2}-\\\\d+$\"}",
         {"\"ab-1\"", "\"cc-123\""},
         {"\"ab-\"", "\"abc-1\"", "\"ab-1 \""}},
        {"{\"type\":\"string\",\"pattern\":\"foo|^b(?:a|o)r?$\"}",
         {"\"foo\"", "\"a foo b\"", "\"bar\"", "\"bo\""},
         {"\"fo\"", "\"bar!\"", "\"xbo\""}},
        {"{\"type\":\"string\",\"pattern\":\"^[^\\\\w]\\\\S\\\\s.$\"}",
         {"\"-a x\"", "\"!b\\t\\\"\""},
         {"\"aa x\"",
          "\"\xC3\xA9"
          "a x\"",
          "\"-a xx\""}},
        {"{\"type\":\"string\",\"pattern\":\"^(a+?|[\\\"\\\\\\\\]){1,2}$\"}",
         {"\"aa\"", "\"\\\"\"", "\"a\\\\\""},
         {"\"\"", "\"\"\"", "\"b\""}},
        {"{\"type\":\"string\",\"pattern\":\"^\\\\u00e9\\\\x41\\\\.$\"}",
         {"\"\xC3\xA9"
          "A.\""},
         {"\"eA.\"", "\"\xC3\xA9"
                     "Ax\""}},
        {"{\"type\":\"string\",\"format\":\"date\"}",
         {"\"2024-02-29\"", "\"2000-02-29\"", "\"1999-12-31\"", "\"2023-04-30\""},
         {"\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\"", "\"2023-00-10\"",
          "\"2023-1-1\"", "\"2023-01-32\""}},
        {"{\"type\":\"string\",\"format\":\"time\"}",
         {"\"23:59:59Z\"", "\"00:00:00.5+02:00\""},
         {"\"24:00:00Z\"", "\"12:60:00Z\"", "\"12:00:60Z\"", "\"12:00:00\""}},
        {"{\"type\":\"string\",\"format\":\"date-time\"}",
         {"\"2024-02-29T12:00:00Z\""},
         {"\"2024-02-30T12:00:00Z\"", "\"2024-02-29\""}},
        {"{\"type\":\"string\",\"format\":\"uuid\"}",
         {"\"123e4567-e89b-12d3-a456-426614174000\""},
         {"\"123e4567e89b12d3a456426614174000\"", "\"g23e4567-e89b-12d3-a456-426614174000\""}},
        {"{\"type\":\"string\",\"format\":\"email\"}",
         {"\"a.b@example.com\"", "\"x@a-b.co\""},
         {"\"a\"", "\"@x.com\"", "\"a@b\"", "\"a..b@x.com\"", "\"a@-b.com\""}},
        {"{\"type\":\"string\",\"format\":\"ipv4\"}",
         {"\"0.0.0.0\"", "\"255.1.20.199\""},
         {"\"256.0.0.0\"", "\"1.2.3\"", "\"01.2.3.4\""}},
        {"{\"type\":\"string\",\"format\":\"hostname\"}",
         {"\"a.example.org\""},
         {"\"-a.org\"", "\"a..org\""}},
        {"{\"type\":\"string\",\"format\":\"uri\"}",
         {"\"https://a.org\"", "\"http://a.org/x/y/\""},
         {"\"a.org\"", "\"ftp://a.org\""}},
        {"{\"type\":\"integer\"}",
         {"0", "-1", "999999999999999999", "42"},
         {"-0", "01", "1.0", "1e3", "1000000000000000000", "-", ""}},
        {"{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}",
         {"-12", "-9", "0", "9", "99", "100", "105"},
         {"-13", "-100", "106", "110", "200", "-0", "1000"}},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":3,\"exclusiveMaximum\":6}",
         {"4", "5"},
         {"3", "6", "45"}},
        {"{\"type\":\"integer\",\"minimum\":2.5,\"maximum\":3.5}", {"3"}, {"2", "4"}},
        {"{\"type\":\"integer\",\"minimum\":-7,\"maximum\":-3}",
         {"-7", "-3", "-5"},
         {"-8", "-2", "5", "0"}},
        {"{\"type\":\"integer\",\"minimum\":998}",
         {"998", "999", "1000", "123456"},
         {"997", "99", "-998"}},
        {"{\"type\":\"number\"}",
         {"0", "-0.5", "1e5", "2.5E-10", "123456789012345.5"},
         {".5", "1.", "1e", "--1", "1e999"}},
        {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
         {"0", "1", "0.5", "1.0", "0.999999", "0.0"},
         {"1.1", "-0.1", "1.000001", "2", "0.", "-0"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":2.5}",
         {"0.000001", "1", "2.5", "2.49", "2.500000"},
         {"0", "0.0", "2.51", "2.500001", "3", "-1"}},
        {"{\"type\":\"number\",\"minimum\":-1.25,\"exclusiveMaximum\":-0.5}",
         {"-1.25", "-1", "-0.51", "-0.500001"},
         {"-0.5", "-1.26", "-2", "0", "1"}},
        {"{\"enum\":[\"a\",\"ab\",1,null,{\"x\":[1,2]}]}",
         {"\"a\"", "\"ab\"", "1", "null", "{\"x\":[1,2]}"},
         {"\"b\"", "2", "\"a"}},
        {"{\"type\":\"string\",\"enum\":[\"a\",1]}", {"\"a\""}, {"1"}},
        {"{\"enum\":[\"a\",\"\\u00e9\\u00e9\",1,2,3,null],\"minimum\":2,\"exclusiveMaximum\":3,"
         "\"minLength\":2,"
         "\"maxLength\":2}",
         {"\"\xC3\xA9\xC3\xA9\"", "2", "null"},
         {"1", "3", "\"a\""}},
        {"{\"const\":\"\\u00e9\\\"\"}", {"\"\xC3\xA9\\\"\""}, {"\"e\""}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}",
         {"[]", "[true]", "[true,false, true]"},
         {"[1]", "[true,]", "[ true]", "[true  ,false]", "[true,  false]"}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}",
         {"[1,2]", "[1, 2, 3]"},
         {"[]", "[1]", "[1,2,3,4]"}},
        {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
        {"{\"type\":\"array\",\"minItems\":2,\"uniqueItems\":false}",
         {"[1,\"x\"]", "[1,2,3]"},
         {"[]", "[1]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}",
         {"[]", "[1]", "[1,null]"},
         {"[null]", "[1,null,1]", "[,null]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"}],\"items\":{\"type\":"
         "\"null\"},\"minItems\":2,\"maxItems\":3}",
         {"[1,null]", "[1, null, null]"},
         {"[1]", "[1,1]", "[1,null,null,null]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},true],\"items\":false,"
         "\"minItems\":1}",
         {"[1]", "[1,{}]"},
         {"[]", "[1,2,3]"}},
        {"{\"type\":\"object\"}",
         {"{}", "{\"a\": 1}", "{\"x\":[],\"y\":{}}"},
         {"[]", "{a:1}", "{\"a\"}"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
         "\"null\"}},\"required\":[\"b\"]}",
         {"{\"a\":1,\"b\":null}", "{\"b\": null}", "{\"a\": 2, \"b\":null}"},
         {"{}", "{\"a\":1}", "{\"b\":null,\"a\":1}", "{\"b\":null,\"c\":1}", "{,\"b\":null}",
          "{\"a\":1 \"b\":null}"}},
        {"{\"properties\":{\"a\":{},\"b\":{},\"c\":{}}}",
         {"{}", "{\"a\":1}", "{\"c\":1}", "{\"a\":1,\"c\":2}", "{\"b\":1,\"c\":2}"},
         {"{\"c\":1,\"a\":2}", "{\"a\":1,}"}},
        {"{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"},\"ac\\u00e9\":{\"type\":"
         "\"null\"}},\"additionalProperties\":{\"type\":\"integer\"}}",
         {"{}", "{\"ab\":null,\"x\":1}", "{\"abc\":1}", "{\"a\":1,\"ad\":2}",
          "{\"ac\":3,\"ac\xC3\xA8\":4}"},
         {"{\"ab\":1}", "{\"x\":null}", "{\"ac\xC3\xA9\":1}", "{\"\":1}"}},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"null\"}}",
         {"{}", "{\"k\":null}"},
         {"{\"k\":1}"}},
        {"{\"type\":\"object\",\"additionalProperties\":false}", {"{}"}, {"{\"a\":1}"}},
        {"{\"type\":\"object\",\"required\":[\"z\"]}", {"{\"z\":1}"}, {"{}", "{\"y\":1}"}},
        {"{\"type\":\"object\",\"properties\":{\"q\\\"\\\\/"
         "~\":{\"type\":\"null\"}},\"required\":[\"q\\\"\\\\/"
         "~\"],\"minProperties\":1,\"maxProperties\":1}",
         {"{\"q\\\"\\\\/~\":null}"},
         {"{}"}},
        {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"maxLength\":1}]}",
         {"1", "\"a\""},
         {"\"ab\"", "null"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"}}"
         ",\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
         {"{\"a\":null}", "{\"b\":null}", "{\"a\":null,\"b\":null}"},
         {"{}"}},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", {"1", "\"a\""}, {"null"}},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":1},\"x\":{\"type\":"
         "\"null\"}},\"required\":[\"k\"]},{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[2,"
         "3]}},\"required\":[\"k\"]}]}",
         {"{\"k\":1,\"x\":null}", "{\"k\":2}"},
         {"{\"k\":2,\"x\":null}", "{}"}},
        {"{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},"
         "\"required\":[\"a\"]},{\"properties\":{\"a\":{\"minimum\":5,\"maximum\":7},\"b\":{"
         "\"type\":\"null\"}}}]}",
         {"{\"a\":5}", "{\"a\":7,\"b\":null}"},
         {"{\"a\":4}", "{}"}},
        {"{\"allOf\":[{\"minimum\":3},{\"maximum\":9},{\"type\":\"number\"},{\"type\":[\"integer\","
         "\"null\"]}]}",
         {"3", "9"},
         {"2", "10", "3.5", "null"}},
        {"{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[2,3,4]}]}", {"2", "3"}, {"1", "4"}},
        {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"null\"}},\"additionalProperties\":false},{"
         "\"properties\":{\"a\":{},\"b\":{}}}]}",
         {"{}", "{\"a\":null}"},
         {"{\"b\":1}", "{\"a\":1}"}},
        {"{\"$ref\":\"#/$defs/"
         "n\",\"description\":\"x\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{"
         "\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
         "n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
         {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}"},
         {"{\"v\":1}", "{\"v\":1,\"next\":{}}"}},
        {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", {"[]", "[[],[[]]]"}, {"[1]"}},
        {"{\"$ref\":\"#/definitions/a~1b%20c\",\"maximum\":3,\"definitions\":{\"a/b "
         "c\":{\"type\":\"integer\",\"minimum\":1}}}",
         {"1", "3"},
         {"0", "4"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":false,\"b\":{\"type\":\"null\"}}}",
         {"{}", "{\"b\":null}"},
         {"{\"a\":1}"}},
        {"{\"type\":\"integer\",\"multipleOf\":1,\"maxLength\":3}", {"12345"}, {"1.5"}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_grammar *g;
        hn_error err;
        if (hn_grammar_from_schema_text(&g, CASES[i].source, strlen(CASES[i].source), "s", &err) !=
            HN_OK)
            fail_msg("%s\n%s", CASES[i].source, err.message);
        check_texts(&CASES[i], g);
    }
}

static void schema_refusals(void **state) {
    (void)state;
    static const refusal CASES[] = {
        {"3", "a schema is an object"},
        {"{\"type\":\"text\"}", "#/type must be null, boolean"},
        {"{\"type\":\"object\",\"properties\":{\"a/b\":{\"type\":\"string\",\"patern\":\"x\"}}}",
         "#/properties/a~1b/patern: this keyword can't be honoured; is it meant to be pattern"},
        {"{\"not\":{}}", "#/not: this keyword"},
        {"{\"if\":{},\"then\":{}}", "#/if: this keyword"},
        {"{\"type\":\"array\",\"items\":{\"patternProperties\":{}}}", "#/items/patternProperties"},
        {"{\"type\":\"array\",\"contains\":{}}", "#/contains"},
        {"{\"type\":\"array\",\"uniqueItems\":true}", "#/uniqueItems"},
        {"{\"type\":\"array\",\"items\":[{}]}",
         "#/items: a list of schemas is written as prefixItems"},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "#/minItems"},
        {"{\"type\":\"array\",\"minItems\":-1}", "#/minItems must be"},
        {"{\"type\":\"array\",\"maxItems\":100000000000}", "#/maxItems: above"},
        {"{\"type\":\"string\",\"format\":\"ipv6\"}", "#/format: only date"},
        {"{\"type\":\"string\",\"pattern\":\"a(?=b)\"}",
         "#/pattern: pattern, byte 2: of the groups"},
        {"{\"type\":\"string\",\"pattern\":\"(a)\\\\1\"}", "this escape isn't possible"},
        {"{\"type\":\"string\",\"pattern\":\"\\\\bx\"}", "this escape isn't possible"},
        {"{\"type\":\"string\",\"pattern\":\"a^b\"}", "^ and $"},
        {"{\"type\":\"string\",\"pattern\":\"(a\"}", "isn't closed"},
        {"{\"type\":\"string\",\"pattern\":\"a)\"}", "without its ("},
        {"{\"type\":\"string\",\"pattern\":\"a{1,1000000000}\"}", "counts to"},
        {"{\"type\":\"string\",\"pattern\":\"(a?){3,5}\"}", "may be empty"},
        {"{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":5}", "#/maxLength: beside pattern"},
        {"{\"type\":\"number\",\"multipleOf\":0.1}", "#/multipleOf"},
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "#/maximum: no whole number"},
        {"{\"type\":\"number\",\"minimum\":1e10}", "#/minimum: no number"},
        {"{\"type\":\"integer\",\"minimum\":true}", "#/minimum must be a number"},
        {"{\"enum\":[\"a\"],\"pattern\":\"a\"}", "#/pattern: beside enum"},
        {"{\"enum\":[1,2],\"minimum\":3}", "nothing fits"},
        {"{\"enum\":{}}", "#/enum must be a list"},
        {"{\"enum\":[]}", "nothing fits"},
        {"false", "nothing fits"},
        {"{\"type\":\"object\",\"properties\":{\"a\":false},\"required\":[\"a\"]}", "nothing fits"},
        {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false}", "#/required"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}},\"minProperties\":1}", "#/minProperties"},
        {"{\"type\":\"object\",\"maxProperties\":1}", "#/maxProperties"},
        {"{\"type\":\"object\",\"required\":\"a\"}", "#/required must be"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "#/oneOf: two alternatives"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":3}]}", "#/oneOf: two alternatives"},
        {"{\"oneOf\":[{\"enum\":[1]},{\"enum\":[1.0,2]}]}", "#/oneOf: two alternatives"},
        {"{\"anyOf\":[]}", "#/anyOf must be"},
        {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}", "#/pattern: two of them"},
        {"{\"$ref\":\"other.json#/a\"}", "#/$ref: only references within"},
        {"{\"$ref\":\"#/$defs/x\"}", "#/$ref: it points at nothing"},
        {"{\"$ref\":\"#\"}", "asks for itself"},
        {"{\"allOf\":[{\"$ref\":\"#\"}]}", "nested more than"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "left recursion"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
         "nothing fits"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_grammar *g = NULL;
        hn_error err = {0};
        hn_status status =
            hn_grammar_from_schema_text(&g, CASES[i].source, strlen(CASES[i].source), "s", &err);
        if (status == HN_OK || !strstr(err.message, CASES[i].says))
            fail_msg("%s\n%s", CASES[i].source, status ? err.message : "was accepted");
        assert_null(g);
    }
}

/* What tries to be large, deep or slow ends with an error or soon. */
static void hostile(void **state) {
    (void)state;
    enum { SIZE = 11 << 20, DEEP = 3000 };
    hn_grammar *g = NULL;
    hn_error err;
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    memset(text, 'a', SIZE);
    text[SIZE] = 0;
    assert_int_equal(hn_grammar_from_gbnf(&g, text, SIZE, "g", &err), HN_UNSUPPORTED);
    assert_int_equal(hn_grammar_from_schema_text(&g, text, SIZE, "s", &err), HN_UNSUPPORTED);
    size_t n = (size_t)sprintf(text, "root ::= \"");
    memset(text + n, 'a', 600000);
    strcpy(text + n + 600000, "\"");
    assert_int_equal(hn_grammar_from_gbnf(&g, text, strlen(text), "g", &err), HN_UNSUPPORTED);
    n = (size_t)sprintf(text, "root ::= ");
    memset(text + n, '(', DEEP);
    assert_int_equal(hn_grammar_from_gbnf(&g, text, n + DEEP, "g", &err), HN_BAD_INPUT);
    n = 0;
    for (int i = 0; i < DEEP; i++)
        n += (size_t)sprintf(text + n, "{\"items\":");
    assert_int_not_equal(hn_grammar_from_schema_text(&g, text, n, "s", &err), HN_OK);
    n = 0;
    for (int i = 0; i < 500; i++)
        n += (size_t)sprintf(text + n, "{\"items\":");
    n += (size_t)sprintf(text + n, "{}");
    memset(text + n, '}', 500);
    assert_int_equal(hn_grammar_from_schema_text(&g, text, n + 500, "s", &err), HN_UNSUPPORTED);
    n = (size_t)sprintf(text, "{\"$ref\":\"#/$defs/a0\",\"$defs\":{"); /* doubles at each step */
    for (int i = 0; i < 60; i++)
        n += (size_t)sprintf(
            text + n,
            "\"a%d\":{\"allOf\":[{\"$ref\":\"#/$defs/a%d\"},{\"$ref\":\"#/$defs/a%d\"}]},", i,
            i + 1, i + 1);
    sprintf(text + n, "\"a60\":{\"type\":\"null\"}}}");
    assert_int_equal(hn_grammar_from_schema_text(&g, text, strlen(text), "s", &err),
                     HN_UNSUPPORTED);
    n = 0; /* a long chain of rules, each with a name of its own */
    for (int i = 0; i < 30000; i++)
        n +=
            (size_t)sprintf(text + n, "%s%d ::= r%d\n", i ? "r" : "root ::= \"x\" r0\nr", i, i + 1);
    n += (size_t)sprintf(text + n, "r30000 ::= \"x\"\n");
    ASSERT_OK(hn_grammar_from_gbnf(&g, text, n, "g", errp));
    hn_matcher *m;
    ASSERT_OK(hn_matcher_new(&m, g, NULL, errp));
    bool accepted;
    (void)!hn_matcher_feed(m, "xx", 2, &accepted, &err);
    hn_matcher_free(m);
    hn_grammar_free(g);
    /* 2^n ways to read one text */
    static const char WAYS[] = "root ::= \"x\" root \"a\" | \"x\" root \"b\" | \"x\"";
    ASSERT_OK(hn_grammar_from_gbnf(&g, WAYS, strlen(WAYS), "g", errp));
    ASSERT_OK(hn_matcher_new(&m, g, NULL, errp));
    memset(text, 'x', 100);
    assert_int_equal(hn_matcher_feed(m, text, 100, &accepted, &err), HN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "too many ways"));
    ASSERT_OK(hn_matcher_feed(m, text, 3, &accepted, errp)); /* it stands where it was */
    assert_true(accepted && hn_matcher_may_end(m) == false);
    hn_matcher_free(m);
    hn_grammar_free(g);
    free(text);
}

/* A small vocabulary: single bytes and some longer texts, two of them the same. */
static const char *const WORDS[] = {
    "\"",           "{\"",  "\":", "\": ",  "\",",  "\", \"", "true",    "tr",
    "ue",           "null", "[",   "]",     "[[",   "]]",     "},",      "aa",
    "aaa",          "aaaa", "a",   "b",     "ab",   "0",      "1",       "12",
    "100",          "-",    ".5",  "1.",    ", ",   ",",      "\xC3",    "\xA9",
    "\xC3\xA9",     "\\",   "\\n", "\\u00", "name", "na",     "name\":", "aa",
    "zzzzzzzzzzzz", "{",    "}",   ":",     " ",
};
enum { N_WORDS = sizeof WORDS / sizeof *WORDS };

static void word_text(void *context, int32_t id, const char **data, size_t *n) {
    (void)context;
    *data = id < N_WORDS ? WORDS[id] : "";
    *n = strlen(*data);
}

/* Every mask against feeding every token to a matcher of its own, along random texts. */
static void masks(void **state) {
    (void)state;
    static const char *const SCHEMAS[] = {
        "{}",
        "{\"type\":\"string\",\"minLength\":30,\"maxLength\":60}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":14},\"minItems\":15,"
        "\"maxItems\":40}",
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"pattern\":\"^a{3,40}"
        "b*$\"},\"na\":{\"type\":\"integer\",\"minimum\":-12,\"maximum\":1200}},\"required\":["
        "\"na\"]}",
        "{\"anyOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}},{\"type\":\"boolean\"},{"
        "\"const\":\"aab\"}]}",
    };
    hn_token_trie *trie;
    ASSERT_OK(hn_token_trie_new(&trie, N_WORDS + 3, word_text, NULL, errp));
    assert_int_equal(hn_token_trie_size(trie), N_WORDS + 3);
    srand(7);
    for (size_t k = 0; k < sizeof SCHEMAS / sizeof *SCHEMAS; k++) {
        hn_grammar *g;
        hn_matcher *m, *other;
        char text[2000];
        ASSERT_OK(hn_grammar_from_schema_text(&g, SCHEMAS[k], strlen(SCHEMAS[k]), "s", errp));
        ASSERT_OK(hn_matcher_new(&m, g, trie, errp));
        ASSERT_OK(hn_matcher_new(&other, g, NULL, errp));
        for (int round = 0; round < 20; round++) {
            size_t n = 0;
            ASSERT_OK(hn_matcher_restart(m, errp));
            for (int step = 0; step < 40; step++) {
                const uint64_t *mask;
                int32_t n_allowed, count = 0, chosen = -1;
                bool accepted;
                ASSERT_OK(hn_matcher_mask(m, &mask, &n_allowed, errp));
                for (int32_t id = 0; id < N_WORDS; id++) {
                    ASSERT_OK(hn_matcher_restart(other, errp));
                    ASSERT_OK(hn_matcher_feed(other, text, n, &accepted, errp));
                    ASSERT_OK(
                        hn_matcher_feed(other, WORDS[id], strlen(WORDS[id]), &accepted, errp));
                    if (accepted != (bool)(mask[id >> 6] >> (id & 63) & 1))
                        fail_msg("%s: token %s after %.*s", SCHEMAS[k], WORDS[id], (int)n, text);
                    count += accepted;
                    if (accepted && rand() % count == 0)
                        chosen = id;
                }
                assert_int_equal(count, n_allowed);
                if (chosen < 0) {
                    assert_true(hn_matcher_may_end(m));
                    break;
                }
                ASSERT_OK(
                    hn_matcher_feed(m, WORDS[chosen], strlen(WORDS[chosen]), &accepted, errp));
                assert_true(accepted);
                memcpy(text + n, WORDS[chosen], strlen(WORDS[chosen]));
                n += strlen(WORDS[chosen]);
            }
        }
        hn_matcher_free(m);
        hn_matcher_free(other);
        hn_grammar_free(g);
    }
    hn_token_trie_free(trie);
}

/* All that one constrained answer needs; false when memory ran out. */
static bool whole_way(const char *source, bool schema) {
    hn_grammar *g = NULL;
    hn_token_trie *trie = NULL;
    hn_matcher *m = NULL;
    hn_error err;
    const uint64_t *mask;
    int32_t n_allowed;
    bool accepted;
    size_t n = strlen(source);
    hn_status status = schema ? hn_grammar_from_schema_text(&g, source, n, "s", &err)
                              : hn_grammar_from_gbnf(&g, source, n, "g", &err);
    if (status == HN_OK)
        status = hn_token_trie_new(&trie, N_WORDS, word_text, NULL, &err);
    if (status == HN_OK)
        status = hn_matcher_new(&m, g, trie, &err);
    if (status == HN_OK)
        status = hn_matcher_mask(m, &mask, &n_allowed, &err);
    if (status == HN_OK)
        status = hn_matcher_feed(m, "{\"", 2, &accepted, &err);
    if (status == HN_OK)
        status = hn_matcher_mask(m, &mask, &n_allowed, &err);
    hn_matcher_free(m);
    hn_token_trie_free(trie);
    hn_grammar_free(g);
    if (status != HN_OK && status != HN_NO_MEMORY)
        fail_msg("%s", err.message);
    return status == HN_OK;
}

static void out_of_memory(void **state) {
    (void)state;
    static const char SCHEMA[] = "{\"allOf\":[{\"type\":\"object\",\"properties\":{\"ab\":{"
                                 "\"type\":\"string\",\"pattern\":\"[^a]{2,5}\"},"
                                 "\"k\":{\"$ref\":\"#/$defs/"
                                 "k\"}}},{\"required\":[\"x\"],\"additionalProperties\":{\"type\":"
                                 "\"number\",\"minimum\":0}}],"
                                 "\"$defs\":{\"k\":{\"oneOf\":[{\"type\":\"array\",\"items\":{\"$"
                                 "ref\":\"#/$defs/k\"}},{\"enum\":[1,\"x\"]}]}}}";
    static const char GBNF[] =
        "root ::= \"{\" a{2,5} [^b] | \"\\\"\" root b\na ::= [\\x01-\\uFFFF]\nb ::= a?";
    for (int schema = 0; schema < 2; schema++) {
        int64_t allowed = 0;
        for (bool done = false; !done; allowed++) {
            hn_mem_fail_after(allowed);
            done = whole_way(schema ? SCHEMA : GBNF, schema);
            hn_mem_fail_after(-1);
            assert_true(allowed < 20000);
        }
        assert_true(allowed > 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gbnf_texts),    cmocka_unit_test(gbnf_refusals),
        cmocka_unit_test(schema_texts),  cmocka_unit_test(schema_refusals),
        cmocka_unit_test(hostile),       cmocka_unit_test(masks),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
