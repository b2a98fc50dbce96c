"use strict";

// Starts Swagger on the document that the page names. Users with a session need the CSRF token, too.
(() => {
  const { schema, csrfHeader, csrfToken } = document.getElementById("swagger-ui").dataset;

  SwaggerUIBundle({
    url: schema,
    dom_id: "#swagger-ui",
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    requestInterceptor: (request) => {
      if (request.method && request.method !== "GET") {
        request.headers[csrfHeader] = csrfToken;
      }
      return request;
    },
  });
})();
