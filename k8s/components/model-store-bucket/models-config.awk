# Reads models.config, protobuf's text form, and says what each model wants of the store, a line each:
#
#   specific:1,2 1 /models/image_classifier      policy, the version of the label stable, base_path
#   latest:1 - /models/other                     latest:N, all, or specific: and versions; - for no label
#
# Takes every spelling that TensorFlow Serving takes: comments, both quotes, strings side by side,
# escapes, lists in brackets, {} and <>, fields in any order, with or without commas and semicolons,
# hexadecimal and octal numbers. Fields that do not matter here are passed over. What cannot be read
# ends it with 1, and the one line on stdout says where and why.
#
# For any POSIX awk (the image's is BusyBox's), with LC_ALL=C: all of it is bytes.

BEGIN {
  CONFIG = ".model_config_list.config"
  POLICY = CONFIG ".model_version_policy"
  VERSIONS = POLICY ".specific.versions"
  LATEST = POLICY ".latest.num_versions"
  LABELS = CONFIG ".version_labels"
  for (code = 1; code < 256; code++) BYTE[code] = sprintf("%c", code)
  OCTAL = "01234567"
  HEXADECIMAL = "0123456789abcdef"
  split("a 7 b 8 t 9 n 10 v 11 f 12 r 13 \" 34 ' 39 ? 63 \\ 92", pair, " ")
  for (i = 1; i in pair; i += 2) ESCAPE[pair[i]] = pair[i + 1]
}

# --- from characters to tokens --------------------------------------------------------------------

{
  rest = $0
  column = 1
  while (rest != "") {
    if (match(rest, /^[ \t\r\v\f]+/)) { drop(RLENGTH); continue }
    first = substr(rest, 1, 1)
    if (first == "#") break
    if (first == "\"" || first == "'") token("string", quoted_length(first))
    else if (match(rest, /^[A-Za-z_][A-Za-z0-9_]*/)) token("word", RLENGTH)
    else if (match(rest, /^[-+]?[.]?[0-9][A-Za-z0-9_.+-]*/)) token("number", RLENGTH)
    else token("sign", 1)
  }
}

function drop(length_) {
  rest = substr(rest, length_ + 1)
  column += length_
}

function token(kind, length_) {
  count++
  KIND[count] = kind
  TEXT[count] = substr(rest, 1, length_)
  PLACE[count] = NR ":" column
  drop(length_)
}

function quoted_length(quote,  at, character) {
  for (at = 2; (character = substr(rest, at, 1)) != ""; at++) {
    if (character == quote) return at
    if (character == "\\") at++
  }
  fail(NR ":" column, "the end of the string on the same line", "none")
}

# --- from tokens to fields ------------------------------------------------------------------------

END {
  if (failed) exit 1
  KIND[count + 1] = "end"
  TEXT[count + 1] = "the end of the file"
  PLACE[count + 1] = NR + 1 ":1"
  for (now = 1; now <= count;) field("")
  printf "%s", output
}

function field(path,  colon) {
  if (TEXT[now] == "[" && KIND[now] == "sign") { # an extension, or the type of an Any
    while (TEXT[now] != "]" && KIND[now] != "end") now++
    path = path ".[]"
  } else {
    if (KIND[now] != "word") expected("a field's name")
    path = path "." TEXT[now]
  }
  now++
  colon = accept(":")
  if (is("[")) {
    now++
    if (!accept("]")) {
      do value(path, 1)
      while (accept(","))
      require("]")
    }
  } else value(path, colon)
  if (!accept(",")) accept(";")
}

function value(path, colon,  end) {
  if (is("{") || is("<")) {
    end = is("{") ? "}" : ">"
    if (++depth > 100) expected("at most 100 messages within each other")
    now++
    begin(path)
    while (!is(end)) {
      if (KIND[now] == "end") expected(end)
      field(path)
    }
    now++
    finish(path)
    depth--
  } else if (!colon) expected(":, { or <")
  else scalar(path)
}

function scalar(path,  text, sign, place) {
  place = PLACE[now]
  if (KIND[now] == "string") {
    if (path == VERSIONS || path == LATEST || path == LABELS ".value")
      expected("a number without quotes")
    for (; KIND[now] == "string"; now++) text = text unescaped(TEXT[now], PLACE[now])
    if (path == CONFIG ".base_path") base_path = text
    if (path == LABELS ".key") key = text
    return
  }
  if (accept("-")) sign = "-"
  if (KIND[now] != "number" && KIND[now] != "word") expected("a value")
  text = sign TEXT[now++]
  if (path == CONFIG ".base_path" || path == LABELS ".key") fail(place, "text in quotes", text)
  if (path == VERSIONS) {
    text = integer(text, place)
    if (!index("," versions ",", "," text ",")) versions = versions (versions == "" ? "" : ",") text
  }
  if (path == LATEST) latest = integer(text, place)
  if (path == LABELS ".value") label_version = integer(text, place)
}

function begin(path) {
  if (path == CONFIG) { base_path = versions = ""; policy = "latest"; latest = 1; stable = "-" }
  if (path == POLICY ".all") policy = "all"
  if (path == POLICY ".latest") policy = "latest"
  if (path == POLICY ".specific") policy = "specific"
  if (path == LABELS) { key = ""; label_version = 0 }
}

function finish(path) {
  if (path == LABELS && key == "stable") stable = label_version
  if (path != CONFIG) return
  if (base_path !~ /^[^\001-\037\177]+$/)
    fail(PLACE[now - 1], "a base_path before here, without control characters", \
      base_path == "" ? "none" : "one that has some")
  if (policy == "latest") policy = "latest:" (latest == 0 ? 1 : latest)
  if (policy == "specific") policy = "specific:" versions
  output = output policy " " stable " " base_path "\n"
}

# --- values ---------------------------------------------------------------------------------------

function integer(text, place,  digits, sign, base, size) {
  digits = tolower(text)
  if (digits ~ /^-/) { sign = "-"; digits = substr(digits, 2) }
  # A decimal number stays text: 64 bits are more than awk's numbers hold exactly.
  if (digits ~ /^[1-9][0-9]*$/) return sign digits
  if (digits ~ /^0x[0-9a-f]+$/) { base = 16; digits = substr(digits, 3) }
  else if (digits ~ /^0[0-7]*$/) base = 8
  else fail(place, "a whole number", text)
  size = number(digits, base)
  if (size >= 9007199254740992) fail(place, "a number of this size in decimals", text)
  return (size ? sign : "") sprintf("%.0f", size)
}

function number(digits, base,  at, sum) {
  digits = tolower(digits)
  for (at = 1; at <= length(digits); at++)
    sum = sum * base + index(HEXADECIMAL, substr(digits, at, 1)) - 1
  return sum + 0
}

function unescaped(text, place,  out, at, letter) {
  tail = substr(text, 2, length(text) - 2)
  while ((at = index(tail, "\\")) > 0) {
    out = out substr(tail, 1, at - 1)
    letter = substr(tail, at + 1, 1)
    tail = substr(tail, at + 2)
    if (letter in ESCAPE) out = out BYTE[ESCAPE[letter]]
    else if (letter ~ /[0-7]/) out = out byte(number(letter taken(OCTAL, 2), 8), place)
    else if (letter ~ /[xX]/) out = out byte(number(taken(HEXADECIMAL, 2), 16), place)
    else if (letter == "u") out = out utf8(number(taken(HEXADECIMAL, 4), 16), place)
    else if (letter == "U") out = out utf8(number(taken(HEXADECIMAL, 8), 16), place)
    else fail(place, "an escape that text form knows", "\\" letter)
  }
  return out tail
}

function taken(digits, most,  size, out) { # from the tail
  while (size < most && size < length(tail)) {
    if (!index(digits, tolower(substr(tail, size + 1, 1)))) break
    size++
  }
  out = substr(tail, 1, size)
  tail = substr(tail, size + 1)
  return out
}

function byte(code, place) {
  if (code < 1 || code > 255) fail(place, "an escape for a byte from 1 to 255", code)
  return BYTE[code]
}

function utf8(code, place) {
  if (code < 1 || code > 1114111) fail(place, "an escape for a character", code)
  if (code < 128) return BYTE[code]
  if (code < 2048) return BYTE[192 + int(code / 64)] follower(code)
  if (code < 65536) return BYTE[224 + int(code / 4096)] follower(code / 64) follower(code)
  return BYTE[240 + int(code / 262144)] follower(code / 4096) follower(code / 64) follower(code)
}

function follower(code) { return BYTE[128 + int(code) % 64] }

# --- small words ----------------------------------------------------------------------------------

function is(sign) { return KIND[now] == "sign" && TEXT[now] == sign }

function accept(sign) {
  if (!is(sign)) return 0
  now++
  return 1
}

function require(sign) { if (!accept(sign)) expected(sign) }

function expected(what) { fail(PLACE[now], what, TEXT[now]) }

function fail(place, what, received) {
  print place ": Expected " what ". Received: " received
  failed = 1
  exit 1
}
