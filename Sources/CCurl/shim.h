// libcurl, and its variadic calls with one type each: Swift calls no variadic C.
#include <curl/curl.h>

typedef size_t (*station_curl_writer)(char *bytes, size_t size, size_t count, void *context);
typedef int (*station_curl_watcher)(void *context, curl_off_t total, curl_off_t done, curl_off_t up_total, curl_off_t up);

static inline CURLcode station_curl_set_text(CURL *curl, CURLoption option, const char *value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode station_curl_set_number(CURL *curl, CURLoption option, long value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode station_curl_set_large(CURL *curl, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(curl, option, value);
}
static inline CURLcode station_curl_set_writer(CURL *curl, station_curl_writer writer, void *context) {
    CURLcode code = curl_easy_setopt(curl, CURLOPT_WRITEDATA, context);
    return code ? code : curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, writer);
}
static inline CURLcode station_curl_set_watcher(CURL *curl, station_curl_watcher watcher, void *context) {
    CURLcode code = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, context);
    if (!code) code = curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    return code ? code : curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watcher);
}
static inline long station_curl_response(CURL *curl) {
    long response = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &response);
    return response;
}
// -1 where the server did not say.
static inline curl_off_t station_curl_content_length(CURL *curl) {
    curl_off_t length = -1;
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length;
}
